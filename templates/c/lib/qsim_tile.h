/* Sums of products of a tile: ``lanes`` rows of inputs (output positions) by all output channels.
 *
 * out[lane][o] = bias[o] + sum over k of weights[o][k] * x[lane][k], k < 4 * groups.
 *
 * Inputs are int16_t, zero point not subtracted (it is in the bias). Of each group of four k's those of even number come
 * first: x is [groups][k & 1][lanes][k >> 1 & 1], so that a word holds two inputs of one lane. Weights are bytes in the
 * order in which they are used. Four lanes: [pairs of channels][groups][k & 1][k >> 1 & 1][channel of the pair]. One
 * lane: [eights of channels][groups][k & 1][pair of the eight][k >> 1 & 1][channel of the pair], and what is left over
 * of the channels in pairs as for four lanes. Where channels or k do not fill the last place, weights there are zero.
 *
 * Preconditions, proven when the model was emitted: no partial sum leaves int32_t, in whatever order it is made. x and
 * out are aligned to four bytes; out does not overlap x; out of four lanes holds four rows, whether used or not.
 */
#ifndef QSIM_TILE_H
#define QSIM_TILE_H

#include "qsim_form.h"

typedef struct {
    const int16_t *x;
    const int8_t *weights;
    const int32_t *bias; /* an even number of them */
    int32_t *out;
    int32_t groups;
    int32_t channels; /* of out */
    int32_t left;     /* channels that are still to be made; the functions count it down, and move the pointers on */
} qsim_tile;

#if QSIM_DSP
/* clang-format off */

/* One word of weights (two k's of two channels, at r1) into r10 (first channel) and r11 (second). */
#define QSIM_WEIGHTS                      \
    "ldr    r11, [r1], #4            \n"  \
    "sxtb16 r10, r11                 \n"  \
    "sxtb16 r11, r11, ror #8         \n"

/* Two inputs of one lane times those weights. */
#define QSIM_LANE(first, second)                    \
    "ldr    r12, [r0], #4            \n"            \
    "smlad  " first ", r12, r10, " first "    \n"   \
    "smlad  " second ", r12, r11, " second "  \n"

/* clang-format on */

#else

/* Keeps the compiler from loading ahead: more values than a small core has registers for. */
#if defined(__GNUC__)
#define QSIM_FENCE() __asm__ volatile("" : : : "memory")
#else
#define QSIM_FENCE() ((void)0)
#endif

#endif

#endif
