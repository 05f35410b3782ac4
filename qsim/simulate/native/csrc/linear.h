/* The parameters of the kernels with constant weights; see qsim/simulate/native/lower/linear.py, which packs them. */
#ifndef QSIM_NATIVE_LINEAR_H
#define QSIM_NATIVE_LINEAR_H

#include "qsim_native.h"

#define QN_CHANNELS 16 /* output channels of a panel of packed weights */
#define QN_PIXELS 6    /* output positions of a tile */

enum { QN_WORDS, QN_BYTES }; /* the form of the products */

/* y[p, o] = bias[o] + sum over runs r and steps k of w[o] . x[start(p) + offset[r] + nk .. n-1 more].
 *
 * x: the padded image; a run is what one row of taps reads contiguously, rounded up to whole steps (further weights are
 * zero). QN_WORDS: n = 2, x is int16 with the zero point subtracted; weights[panel][run][step][16][2] of int16.
 * QN_BYTES: n = 4, x is uint8, ``raise`` above that; weights[panel][run][step][16][4] of int8, the bias already less
 * ``raise`` times their sum (the border holds ``raise`` too). */
typedef struct {
    int32_t type_in, type_out;
    int32_t input_zero, form;
    int32_t height, width, channels;             /* of the input */
    int32_t padded_height, padded_width, top, left;
    int32_t spread;                              /* depthwise: outputs of an input channel; else 1 */
    int32_t out_height, out_width, outputs, panels;
    int32_t stride_height, stride_width;
    int32_t runs, steps;
    int32_t raise, pad;
    const int32_t *offset;                       /* of each run, in elements */
    const void *weights;
    const int32_t *bias;                         /* panels * 16 */
    qn_chain chain;
} qn_linear;

#endif
