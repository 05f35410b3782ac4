/* Depthwise Conv2D at one output position, four channels at a time: channels first ... first + count - 1.
 *
 * y[i] = sum over (u, v) of weights[first + i][u][v] * (x[..., first + i] - zero_point) + bias[first + i] over the taps
 * inside the image.
 *
 * QSIM_X       element type of x, int8_t or uint8_t
 * QSIM_WIDEN   four bytes of x -> two words of two int16_t: the DSP instruction's prefix, "s" or "u"
 * Preconditions: no partial sum leaves int32_t (proven when the model was emitted); x is the whole image; inputs, first
 * and count are multiples of four; y does not overlap x.
 */
typedef struct {
    const int8_t *weights; /* [inputs / 4][kernel_height][kernel_width][4] */
    const int32_t *bias;
    int32_t zero_point;
    qsim_window window;
    int32_t dilation_height;
    int32_t dilation_width;
} QSIM_PARAMS;

#define QSIM_FOURS QSIM_JOIN(QSIM_NAME, _fours)
#define QSIM_STRIP QSIM_JOIN(QSIM_NAME, _strip)

/* What is left to be done at a position: x and weights at the first tap inside the image, of the next four channels. */
typedef struct {
    const QSIM_X *x;
    const int8_t *weights;
    const int32_t *bias;
    int32_t *y;
#if QSIM_DSP
    uint32_t zero_points; /* minus the zero point, twice in 16 bits */
#else
    int32_t zero_point;
#endif
    int32_t step;         /* elements of x from tap to tap */
    int32_t rows;
    int32_t taps;         /* of a row; at least one of each */
    int32_t row_step;     /* elements of x from row to row, and what remains of it behind the taps */
    int32_t x_rest;
    int32_t weights_rest; /* of a row's weights behind the taps */
    int32_t weights_step; /* weights of four channels */
    int32_t three;        /* 1: three taps, and all of a row's weights */
    int32_t fours;        /* how many fours of channels; at least one */
} QSIM_STRIP;

#if QSIM_DSP
/* clang-format off */
#define QSIM_TAP(address)                 \
    "ldr    r9, " address "          \n"  \
    "ldr    r11, [r1], #4            \n"  \
    QSIM_WIDEN "xtab16 r8, r6, r9    \n"  \
    QSIM_WIDEN "xtab16 r9, r6, r9, ror #8 \n" \
    "sxtb16 r10, r11                 \n"  \
    "sxtb16 r11, r11, ror #8         \n"  \
    "smlabb r2, r8, r10, r2          \n"  \
    "smlabb r3, r9, r11, r3          \n"  \
    "smlatt r4, r8, r10, r4          \n"  \
    "smlatt r5, r9, r11, r5          \n"

/* r0 x, r1 weights, r2-r5 sums, r6 zero points, r7 step, r8-r11 values, r12 rows left, lr row step or taps left. */
QSIM_NAKED static void QSIM_FOURS(QSIM_STRIP *strip __attribute__((unused)))
{
    __asm__ volatile(
        "push   {r0, r4-r11, lr}         \n"
        "1:                              \n"
        "ldmia  r0, {r8, r9, r10, r11}   \n"
        "ldr    lr, [r0, #44]            \n"
        "add    r1, r9, #0               \n"
        "add    r9, r9, lr               \n"
        "ldmia  r10!, {r2-r5}            \n"
        "add    r6, r8, #4               \n"
        "stmia  r0, {r6, r9, r10}        \n"
        "ldr    r6, [r0, #16]            \n"
        "ldr    r7, [r0, #20]            \n"
        "ldr    r12, [r0, #24]           \n"
        "ldr    lr, [r0, #48]            \n"
        "cmp    lr, #0                   \n"
        "ldr    lr, [r0, #32]            \n"
        "mov    r0, r8                   \n"
        "beq    4f                       \n"
        "2:                              \n"
        QSIM_TAP("[r0]")
        QSIM_TAP("[r0, r7]")
        QSIM_TAP("[r0, r7, lsl #1]")
        "add    r0, r0, lr               \n"
        "subs   r12, r12, #1             \n"
        "bne    2b                       \n"
        "3:                              \n"
        "ldr    r0, [sp]                 \n"
        "ldr    r12, [r0, #12]           \n"
        "ldr    lr, [r0, #52]            \n"
        "stmia  r12!, {r2-r5}            \n"
        "subs   lr, lr, #1               \n"
        "str    r12, [r0, #12]           \n"
        "str    lr, [r0, #52]            \n"
        "bne    1b                       \n"
        "pop    {r0, r4-r11, pc}         \n"
        "4:                              \n"
        "ldr    lr, [sp]                 \n"
        "ldr    lr, [lr, #28]            \n"
        "5:                              \n"
        QSIM_TAP("[r0]")
        "add    r0, r0, r7               \n"
        "subs   lr, lr, #1               \n"
        "bne    5b                       \n"
        "ldr    lr, [sp]                 \n"
        "ldr    r8, [lr, #36]            \n"
        "ldr    r9, [lr, #40]            \n"
        "add    r0, r0, r8               \n"
        "add    r1, r1, r9               \n"
        "subs   r12, r12, #1             \n"
        "bne    4b                       \n"
        "b      3b                       \n"
        :
        :
        : "r0", "r1", "r2", "r3", "r12", "lr", "cc", "memory");
}

#undef QSIM_TAP
/* clang-format on */
#else
static void QSIM_FOURS(QSIM_STRIP *strip)
{
    const int32_t zero_point = strip->zero_point;

    for (int32_t four = strip->fours; four > 0; --four) {
        const QSIM_X *x = strip->x;
        const int8_t *w = strip->weights;
        int32_t a = strip->bias[0];
        int32_t b = strip->bias[1];
        int32_t c = strip->bias[2];
        int32_t d = strip->bias[3];

        for (int32_t row = strip->rows; row > 0; --row) {
            for (int32_t tap = strip->taps; tap > 0; --tap) {
                a += ((int32_t)x[0] - zero_point) * w[0];
                b += ((int32_t)x[1] - zero_point) * w[1];
                c += ((int32_t)x[2] - zero_point) * w[2];
                d += ((int32_t)x[3] - zero_point) * w[3];
                x += strip->step;
                w += 4;
            }
            x += strip->x_rest;
            w += strip->weights_rest;
        }
        strip->y[0] = a;
        strip->y[1] = b;
        strip->y[2] = c;
        strip->y[3] = d;
        strip->x += 4;
        strip->weights += strip->weights_step;
        strip->bias += 4;
        strip->y += 4;
    }
}
#endif

static void QSIM_NAME(const QSIM_X *x, int32_t *y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    const qsim_place place = qsim_place_at(&p->window, row, column, p->dilation_height, p->dilation_width);
    const int32_t taps = place.v_end - place.v_begin;
    const int32_t down = place.u_begin * p->dilation_height;
    QSIM_STRIP strip;

    if (place.u_end <= place.u_begin || taps <= 0) {
        for (int32_t i = 0; i < count; ++i) {
            y[i] = p->bias[first + i];
        }
        return;
    }
    strip.x = x + qsim_tap(&p->window, place, down, place.v_begin * p->dilation_width) + first;
    strip.weights_step = 4 * p->window.kernel_height * p->window.kernel_width;
    strip.weights = p->weights + (first >> 2) * strip.weights_step;
    strip.weights += 4 * (place.u_begin * p->window.kernel_width + place.v_begin);
    strip.bias = p->bias + first;
    strip.y = y;
#if QSIM_DSP
    strip.zero_points = ((uint32_t)-p->zero_point & 0xffffu) * 0x10001u;
#else
    strip.zero_point = p->zero_point;
#endif
    strip.step = p->dilation_width * p->window.inputs;
    strip.rows = place.u_end - place.u_begin;
    strip.taps = taps;
    strip.row_step = p->dilation_height * p->window.width * p->window.inputs;
    strip.x_rest = strip.row_step - taps * strip.step;
    strip.weights_rest = 4 * (p->window.kernel_width - taps);
    strip.three = taps == 3 && p->window.kernel_width == 3;
    strip.fours = count >> 2;
    QSIM_FOURS(&strip);
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_WIDEN
#undef QSIM_FOURS
#undef QSIM_STRIP
