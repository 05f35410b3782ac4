/* One lane by all channels, eight channels at a time; see qsim_tile.h. */
#ifndef QSIM_TILE_ONE_H
#define QSIM_TILE_ONE_H

#include "qsim_tile.h"

#if QSIM_DSP
/* clang-format off */

/* The inputs in r12 times two channels' weights. */
#define QSIM_PAIR(first, second)                    \
    QSIM_WEIGHTS                                    \
    "smlad  " first ", r12, r10, " first "    \n"   \
    "smlad  " second ", r12, r11, " second "  \n"

#define QSIM_EIGHT_CHANNELS                                                                      \
    "ldr    r12, [r0], #4            \n"                                                         \
    QSIM_PAIR("r2", "r3") QSIM_PAIR("r4", "r5") QSIM_PAIR("r6", "r7") QSIM_PAIR("r8", "r9")

/* r0 x, r1 weights, r2-r9 the channels, r10-r12 values, lr end of the inputs. First eights of channels, then pairs. */
QSIM_NAKED static void qsim_tile_one(qsim_tile *tile __attribute__((unused)))
{
    __asm__ volatile(
        "push   {r0, r4-r11, lr}         \n"
        "ldr    r1, [r0, #4]             \n"
        "b      3f                       \n"
        "1:                              \n"
        "str    r11, [r0, #24]           \n"
        "ldr    r12, [r0, #8]            \n"
        "ldmia  r12!, {r2-r9}            \n"
        "str    r12, [r0, #8]            \n"
        "ldr    lr, [r0, #16]            \n"
        "ldr    r0, [r0]                 \n"
        "add    lr, r0, lr, lsl #3       \n"
        "2:                              \n"
        QSIM_EIGHT_CHANNELS
        QSIM_EIGHT_CHANNELS
        "cmp    r0, lr                   \n"
        "bne    2b                       \n"
        "ldr    r0, [sp]                 \n"
        "ldr    r12, [r0, #12]           \n"
        "stmia  r12!, {r2-r9}            \n"
        "str    r12, [r0, #12]           \n"
        "3:                              \n"
        "ldr    r11, [r0, #24]           \n"
        "subs   r11, r11, #8             \n"
        "bpl    1b                       \n"
        "adds   r11, r11, #8             \n"
        "beq    6f                       \n"
        "ldr    r4, [r0, #8]             \n"
        "ldr    r5, [r0, #12]            \n"
        "ldr    r7, [r0]                 \n"
        "ldr    lr, [r0, #16]            \n"
        "add    lr, r7, lr, lsl #3       \n"
        "mov    r8, r11                  \n"
        "4:                              \n"
        "ldr    r2, [r4], #4             \n"
        "ldr    r3, [r4], #4             \n"
        "mov    r0, r7                   \n"
        "5:                              \n"
        QSIM_WEIGHTS
        QSIM_LANE("r2", "r3")
        QSIM_WEIGHTS
        QSIM_LANE("r2", "r3")
        "cmp    r0, lr                   \n"
        "bne    5b                       \n"
        "str    r2, [r5], #4             \n"
        "subs   r8, r8, #2               \n"
        "bmi    6f                       \n"
        "str    r3, [r5], #4             \n"
        "bne    4b                       \n"
        "6:                              \n"
        "pop    {r0, r4-r11, pc}         \n"
        :
        :
        : "r0", "r1", "r2", "r3", "r12", "lr", "cc", "memory");
}

#undef QSIM_PAIR
#undef QSIM_EIGHT_CHANNELS
/* clang-format on */

#else

/* The input of one k, x[to], times its weights in one pair of an eight, from w[at] on. */
#define QSIM_ONE_PAIR(first, second, at)         \
    do {                                         \
        (first) += value * w[(at)];              \
        (second) += value * w[(at) + 1];         \
        QSIM_FENCE();                            \
    } while (0)

#define QSIM_EIGHT(to, at)                       \
    do {                                         \
        const int32_t value = x[(to)];           \
                                                 \
        QSIM_ONE_PAIR(a0, b0, (at));             \
        QSIM_ONE_PAIR(a1, b1, (at) + 4);         \
        QSIM_ONE_PAIR(a2, b2, (at) + 8);         \
        QSIM_ONE_PAIR(a3, b3, (at) + 12);        \
    } while (0)

/* Eight channels of one lane. */
static void qsim_tile_eight(const qsim_tile *tile, const int8_t *w, const int32_t *bias, int32_t *out)
{
    const int16_t *x = tile->x;
    int32_t a0 = bias[0];
    int32_t b0 = bias[1];
    int32_t a1 = bias[2];
    int32_t b1 = bias[3];
    int32_t a2 = bias[4];
    int32_t b2 = bias[5];
    int32_t a3 = bias[6];
    int32_t b3 = bias[7];

    for (const int16_t *const end = x + (tile->groups & ~1) * 4; x < end;) {
        QSIM_EIGHT(0, 0);
        QSIM_EIGHT(1, 2);
        QSIM_EIGHT(2, 16);
        QSIM_EIGHT(3, 18);
        QSIM_EIGHT(4, 32);
        QSIM_EIGHT(5, 34);
        QSIM_EIGHT(6, 48);
        QSIM_EIGHT(7, 50);
        x += 8;
        w += 64;
    }
    if ((tile->groups & 1) != 0) {
        QSIM_EIGHT(0, 0);
        QSIM_EIGHT(1, 2);
        QSIM_EIGHT(2, 16);
        QSIM_EIGHT(3, 18);
    }
    out[0] = a0;
    out[1] = b0;
    out[2] = a1;
    out[3] = b1;
    out[4] = a2;
    out[5] = b2;
    out[6] = a3;
    out[7] = b3;
}

static void qsim_tile_one(qsim_tile *tile)
{
    const int8_t *w = tile->weights;
    const int32_t *bias = tile->bias;
    int32_t *out = tile->out;
    int32_t left = tile->left;

    for (; left >= 8; left -= 8) {
        qsim_tile_eight(tile, w, bias, out);
        w += 32 * tile->groups;
        bias += 8;
        out += 8;
    }
    for (; left > 0; left -= 2) {
        const int16_t *x = tile->x;
        int32_t a = bias[0];
        int32_t b = bias[1];

        for (int32_t group = tile->groups; group > 0; --group) {
            for (int32_t k = 0; k < 4; ++k) {
                a += (int32_t)x[k] * w[2 * k];
                b += (int32_t)x[k] * w[2 * k + 1];
            }
            x += 4;
            w += 8;
        }
        *out++ = a;
        if (left > 1) {
            *out++ = b;
        }
        bias += 2;
    }
}

#undef QSIM_ONE_PAIR
#undef QSIM_EIGHT
#endif

#endif
