/* Requantize by a Q31 multiplier and a right shift, where 32 bits hold every step: y = clip((h + addend[c]) >> shift[c]),
 *
 * h = (x * multiplier[c] + 2^30) / 2^31 rounded down, less one where it is negative if QSIM_AWAY (ties away from zero).
 * The addend is half of 2^shift plus the output's zero point times 2^shift.
 *
 * QSIM_X, QSIM_Y     element types of x and y
 * QSIM_AWAY          1: the second rounding has its ties away from zero; 0: upward
 * QSIM_CLIP          the clipping function
 * QSIM_SATURATE      the DSP instruction that clips, "ssat" or "usat", where x has 32 bits and y has 8; else not defined
 * QSIM_PER_CHANNEL   1: the arrays have ``period`` elements; 0: one
 * Preconditions, proven when the model was emitted: |x| < 2^30; shift >= 1; h + addend fits int32_t.
 */
typedef struct {
    const int32_t *multiplier;
    const int32_t *addend;
    const uint8_t *shift;
    int32_t low;
    int32_t high;
    int32_t period;
} QSIM_PARAMS;

static inline QSIM_Y QSIM_ONE(QSIM_X x, int32_t multiplier, int32_t addend, int32_t shift, const QSIM_PARAMS *p)
{
    int32_t high = qsim_high_mul_i32((int32_t)x, multiplier);

    (void)p;
#if QSIM_AWAY
    high += high >> 31;
#endif
    return (QSIM_Y)QSIM_CLIP((high + addend) >> shift, p->low, p->high);
}

/* The steps of QSIM_ONE, as instructions. */
#if QSIM_AWAY
#define QSIM_AWAY_TEXT "add    %[value], %[value], %[value], asr #31   \n"
#else
#define QSIM_AWAY_TEXT ""
#endif
#define QSIM_ROW                                                                                              \
    "lsl    %[value], %[value], #1                  \n"                                                      \
    "smmulr %[value], %[value], %[m]                \n" QSIM_AWAY_TEXT                                       \
    "add    %[value], %[value], %[a]                \n"                                                      \
    "asr    %[value], %[value], %[s]                \n" QSIM_SATURATE " %[value], #8, %[value]           \n"

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t first, int32_t count, const QSIM_PARAMS *p)
{
#if QSIM_PER_CHANNEL
    const int32_t period = p->period;
    int32_t channel = first % period;

    while (count > 0) {
        int32_t run = qsim_min_i32(count, period - channel);
        const int32_t *multiplier = p->multiplier + channel;
        const int32_t *addend = p->addend + channel;
        const uint8_t *shift = p->shift + channel;

        if (channel == 0 && count >= 4 * period) {
            /* Four rows of channels at once: their parameters are read once. */
            for (const int32_t *const end = multiplier + run; multiplier < end; ++multiplier) {
#if QSIM_DSP && defined(QSIM_SATURATE)
                const int32_t period_3 = 3 * period;
                int32_t value;

                __asm__ volatile(
                    "ldr    %[value], [%[x], %[period], lsl #2]     \n" QSIM_ROW
                    "strb   %[value], [%[y], %[period]]             \n"
                    "ldr    %[value], [%[x], %[period], lsl #3]     \n" QSIM_ROW
                    "strb   %[value], [%[y], %[period], lsl #1]     \n"
                    "ldr    %[value], [%[x], %[period_3], lsl #2]   \n" QSIM_ROW
                    "strb   %[value], [%[y], %[period_3]]           \n"
                    "ldr    %[value], [%[x]], #4                    \n" QSIM_ROW
                    "strb   %[value], [%[y]], #1                    \n"
                    : [x] "+r"(x), [y] "+r"(y), [value] "=&r"(value)
                    : [m] "r"(*multiplier), [a] "r"(*addend++), [s] "r"((int32_t)*shift++), [period] "r"(period),
                      [period_3] "r"(period_3)
                    : "cc", "memory");
#else
                const int32_t m = *multiplier;
                const int32_t a = *addend++;
                const int32_t s = *shift++;

                y[0] = QSIM_ONE(x[0], m, a, s, p);
                y[period] = QSIM_ONE(x[period], m, a, s, p);
                y[2 * period] = QSIM_ONE(x[2 * period], m, a, s, p);
                y[3 * period] = QSIM_ONE(x[3 * period], m, a, s, p);
                ++x;
                ++y;
#endif
            }
            x += 3 * period;
            y += 3 * period;
            count -= 4 * period;
            continue;
        }
        count -= run;
        for (; run > 0; --run) {
            *y++ = QSIM_ONE(*x++, *multiplier++, *addend++, *shift++, p);
        }
        channel = 0;
    }
#else
    const int32_t multiplier = p->multiplier[0];
    const int32_t addend = p->addend[0];
    const int32_t shift = p->shift[0];

    (void)first;
    for (; count >= 4; count -= 4) {
        y[0] = QSIM_ONE(x[0], multiplier, addend, shift, p);
        y[1] = QSIM_ONE(x[1], multiplier, addend, shift, p);
        y[2] = QSIM_ONE(x[2], multiplier, addend, shift, p);
        y[3] = QSIM_ONE(x[3], multiplier, addend, shift, p);
        x += 4;
        y += 4;
    }
    for (; count > 0; --count) {
        *y++ = QSIM_ONE(*x++, multiplier, addend, shift, p);
    }
#endif
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_AWAY
#undef QSIM_CLIP
#undef QSIM_ROW
#undef QSIM_AWAY_TEXT
#ifdef QSIM_SATURATE
#undef QSIM_SATURATE
#endif
#undef QSIM_PER_CHANNEL
