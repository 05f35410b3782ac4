/* Four lanes by all channels, two channels at a time; see qsim_tile.h. */
#ifndef QSIM_TILE_FOUR_H
#define QSIM_TILE_FOUR_H

#include "qsim_tile.h"

#if QSIM_DSP
/* clang-format off */

#define QSIM_FOUR_LANES QSIM_WEIGHTS QSIM_LANE("r2", "r6") QSIM_LANE("r3", "r7") QSIM_LANE("r4", "r8") QSIM_LANE("r5", "r9")

/* r0 x, r1 weights, r2-r5 first channel of the pair, r6-r9 second, r10-r12 values, lr end of the pair's weights. */
QSIM_NAKED static void qsim_tile_four(qsim_tile *tile __attribute__((unused)))
{
    __asm__ volatile(
        "push   {r0, r4-r11, lr}         \n"
        "ldr    r1, [r0, #4]             \n"
        "1:                              \n"
        "ldr    r12, [r0, #8]            \n"
        "ldr    r2, [r12], #4            \n"
        "ldr    r6, [r12], #4            \n"
        "str    r12, [r0, #8]            \n"
        "mov    r3, r2                   \n"
        "mov    r4, r2                   \n"
        "mov    r5, r2                   \n"
        "mov    r7, r6                   \n"
        "mov    r8, r6                   \n"
        "mov    r9, r6                   \n"
        "ldr    lr, [r0, #16]            \n"
        "ldr    r0, [r0]                 \n"
        "add    lr, r1, lr, lsl #3       \n"
        "2:                              \n"
        QSIM_FOUR_LANES
        QSIM_FOUR_LANES
        "cmp    r1, lr                   \n"
        "bne    2b                       \n"
        "ldr    r0, [sp]                 \n"
        "ldr    r12, [r0, #12]           \n"
        "ldr    r10, [r0, #20]           \n"
        "ldr    r11, [r0, #24]           \n"
        "add    lr, r10, r10, lsl #1     \n"
        "subs   r11, r11, #2             \n"
        "str    r11, [r0, #24]           \n"
        "str    r3, [r12, r10, lsl #2]   \n"
        "str    r4, [r12, r10, lsl #3]   \n"
        "str    r5, [r12, lr, lsl #2]    \n"
        "str    r2, [r12], #4            \n"
        "bmi    3f                       \n"
        "str    r7, [r12, r10, lsl #2]   \n"
        "str    r8, [r12, r10, lsl #3]   \n"
        "str    r9, [r12, lr, lsl #2]    \n"
        "str    r6, [r12], #4            \n"
        "str    r12, [r0, #12]           \n"
        "bne    1b                       \n"
        "3:                              \n"
        "pop    {r0, r4-r11, pc}         \n"
        :
        :
        : "r0", "r1", "r2", "r3", "r12", "lr", "cc", "memory");
}

#undef QSIM_FOUR_LANES
/* clang-format on */

#else

/* The weights of one k, w[at] and w[at + 1], times one input of each lane, from x[to] on. */
#define QSIM_TWO_LANES(at, to)                   \
    do {                                         \
        const int32_t wa = w[(at)];              \
        const int32_t wb = w[(at) + 1];          \
        const int32_t x0 = x[(to)];              \
        const int32_t x1 = x[(to) + 2];          \
                                                 \
        a0 += x0 * wa;                           \
        b0 += x0 * wb;                           \
        a1 += x1 * wa;                           \
        b1 += x1 * wb;                           \
        QSIM_FENCE();                            \
    } while (0)

#define QSIM_FOUR_LANES(at, to)                  \
    do {                                         \
        const int32_t wa = w[(at)];              \
        const int32_t wb = w[(at) + 1];          \
        const int32_t x0 = x[(to)];              \
        int32_t x1;                              \
        int32_t x2;                              \
        int32_t x3;                              \
                                                 \
        a0 += x0 * wa;                           \
        b0 += x0 * wb;                           \
        QSIM_FENCE();                            \
        x1 = x[(to) + 2];                        \
        a1 += x1 * wa;                           \
        b1 += x1 * wb;                           \
        QSIM_FENCE();                            \
        x2 = x[(to) + 4];                        \
        a2 += x2 * wa;                           \
        b2 += x2 * wb;                           \
        QSIM_FENCE();                            \
        x3 = x[(to) + 6];                        \
        a3 += x3 * wa;                           \
        b3 += x3 * wb;                           \
        QSIM_FENCE();                            \
    } while (0)

#if QSIM_SMALL
/* Two lanes by one pair of channels: what eight registers hold. sums: the pair's bias in, lane by lane out. */
static void qsim_tile_two(const qsim_tile *tile, const int16_t *x, const int8_t *w, int32_t *sums)
{
    int32_t a0 = sums[0];
    int32_t a1 = sums[0];
    int32_t b0 = sums[1];
    int32_t b1 = sums[1];

    for (int32_t group = tile->groups; group > 0; --group) {
        QSIM_TWO_LANES(0, 0);
        QSIM_TWO_LANES(2, 1);
        QSIM_TWO_LANES(4, 8);
        QSIM_TWO_LANES(6, 9);
        x += 16;
        w += 8;
    }
    sums[0] = a0;
    sums[1] = b0;
    sums[2] = a1;
    sums[3] = b1;
}
#endif

static void qsim_tile_four(qsim_tile *tile)
{
    const int8_t *w = tile->weights;
    const int32_t stride = tile->channels;
    int32_t *out = tile->out;

    for (int32_t left = tile->left; left > 0; left -= 2) {
        const int both = left > 1;
#if QSIM_SMALL
        for (int32_t lane = 0; lane < 4; lane += 2) {
            int32_t sums[4] = {tile->bias[0], tile->bias[1], 0, 0};

            qsim_tile_two(tile, tile->x + 2 * lane, w, sums);
            out[lane * stride] = sums[0];
            out[(lane + 1) * stride] = sums[2];
            if (both) {
                out[lane * stride + 1] = sums[1];
                out[(lane + 1) * stride + 1] = sums[3];
            }
        }
        w += 8 * tile->groups;
#else
        const int16_t *x = tile->x;
        int32_t a0 = tile->bias[0];
        int32_t a1 = a0;
        int32_t a2 = a0;
        int32_t a3 = a0;
        int32_t b0 = tile->bias[1];
        int32_t b1 = b0;
        int32_t b2 = b0;
        int32_t b3 = b0;

        for (int32_t group = tile->groups; group > 0; --group) {
            QSIM_FOUR_LANES(0, 0);
            QSIM_FOUR_LANES(2, 1);
            QSIM_FOUR_LANES(4, 8);
            QSIM_FOUR_LANES(6, 9);
            x += 16;
            w += 8;
        }
        out[0] = a0;
        out[stride] = a1;
        out[2 * stride] = a2;
        out[3 * stride] = a3;
        if (both) {
            out[1] = b0;
            out[stride + 1] = b1;
            out[2 * stride + 1] = b2;
            out[3 * stride + 1] = b3;
        }
#endif
        tile->bias += 2;
        out += 2;
    }
}

#undef QSIM_TWO_LANES
#undef QSIM_FOUR_LANES
#endif

#endif
