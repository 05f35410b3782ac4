// Convolutions, dense layers and matrix products.
//
// Accumulators have the output tensor's format. A partial sum may pass beyond it and wrap: addition modulo 2**width is
// exact for the final sum, which qsim has proven to fit.
//
// CFG::lanes products are formed in a step, so one output element takes ceil(terms / lanes) steps. How they are formed
// is CFG::products, which follows from the values of the weights: see qsim_products.h. The steps of all outputs of a
// window are one loop nest that Vitis flattens: a step begins in every cycle, also from one output to the next.
//
// A configuration holds, beside what the equations below name:
//
//   terms, outputs        products of one output element, output channels
//   products, lanes       see above
//   words, step_words     stored words of one output element's weights, and how many of them a step reads
//   weight_scale          a factor that all weights share, taken out of the stored ones (of type scale_t)
//   input_zero_point      z (of type zero_t), subtracted as the input is read
//   bias_t                the type of a bias; stored constants are wider in C simulation, see qsim::rom
#ifndef QSIM_LINEAR_H
#define QSIM_LINEAR_H

#include "qsim_products.h"
#include "qsim_window.h"

namespace qsim {

// Number of steps of one output element.
template <class CFG>
struct schedule {
    static const int steps = (CFG::words + CFG::step_words - 1) / CFG::step_words;
};

// A complete sum of steps as output: what all outputs of the window share, the factor and the power of two that all
// weights share, and the bias. Modulo OUT's width.
template <class CFG, class OUT, class B>
OUT finished(const OUT &sum, const OUT &shared, const B &bias) {
#pragma HLS INLINE
    OUT whole = sum;
    if (CFG::products::counts) whole = (sum << 1) + shared;
    const OUT scaled = (whole * typename CFG::scale_t(CFG::weight_scale)) << CFG::product_shift;
    return scaled + typename CFG::bias_t(bias);
}

// y[i,j,o] = 2**product_shift * sum_{u,v,c} w[u,v,c,o] * (x[i*sh+u*dh-top, j*sw+v*dw-left, g*Cg+c] - z) + bias[o],
// group g = o / (outputs / groups), terms in the order u, v, c. Positions outside x hold z.
// weights[o] holds the words of the weights in the order (u*kernel_width + v)*group_channels + c.
template <class CFG, class IN, class OUT, class W, class B>
void conv2d(hls::stream<IN> &in, hls::stream<OUT> &out, const W (&weights)[CFG::outputs][CFG::words],
            const B (&bias)[CFG::outputs]) {
#pragma HLS ARRAY_RESHAPE variable=weights cyclic factor=CFG::step_words dim=2
    typedef typename CFG::products products;
    typedef typename products::held_t held_t;
    const int steps = schedule<CFG>::steps;
    const int rows = (CFG::kernel_height - 1) * CFG::dilation_height + 1;
    const int columns = (CFG::kernel_width - 1) * CFG::dilation_width + 1;
    const int padded_height = CFG::pad_top + CFG::height + CFG::pad_bottom;
    const int padded_width = CFG::pad_left + CFG::width + CFG::pad_right;

    static held_t lines[rows > 1 ? rows - 1 : 1][padded_width][CFG::channels];
#pragma HLS ARRAY_PARTITION variable=lines complete dim=1
    static held_t window[rows][columns][CFG::channels];
#pragma HLS ARRAY_PARTITION variable=window complete dim=0
    held_t patch[CFG::groups][CFG::terms];
#pragma HLS ARRAY_PARTITION variable=patch complete dim=0

conv2d_rows:
    for (int r = 0; r < padded_height; ++r) {
    conv2d_columns:
        for (int c = 0; c < padded_width; ++c) {
            const bool inside = r >= CFG::pad_top && r < CFG::pad_top + CFG::height && c >= CFG::pad_left &&
                                c < CFG::pad_left + CFG::width;
        conv2d_channels:
            for (int channel = 0; channel < CFG::channels; ++channel) {
#pragma HLS PIPELINE II=1
                held_t x = 0;
                if (inside) x = products::hold(in.read() - typename CFG::zero_t(CFG::input_zero_point));
                shift_in<rows, columns, padded_width, CFG::channels>(lines, window, c, channel, x);
            }
            if (at_window_end<rows, CFG::stride_height>(r) && at_window_end<columns, CFG::stride_width>(c)) {
            conv2d_patch:  // wiring only: the window's taps in the order of the weights
                for (int u = 0; u < CFG::kernel_height; ++u) {
#pragma HLS UNROLL
                    for (int v = 0; v < CFG::kernel_width; ++v) {
#pragma HLS UNROLL
                        for (int channel = 0; channel < CFG::channels; ++channel) {
#pragma HLS UNROLL
                            patch[channel / CFG::group_channels][(u * CFG::kernel_width + v) * CFG::group_channels +
                                                                 channel % CFG::group_channels] =
                                window[u * CFG::dilation_height][v * CFG::dilation_width][channel];
                        }
                    }
                }
                OUT sum = 0, shared = 0;
            conv2d_groups:
                for (int g = 0; g < CFG::groups; ++g) {
                conv2d_outputs:  // where bits are counted, the first turn finds what the group's outputs share
                    for (int turn = products::counts ? -1 : 0; turn < CFG::group_outputs; ++turn) {
                    conv2d_steps:
                        for (int step = 0; step < steps; ++step) {
#pragma HLS PIPELINE II=1
                            const bool share = turn < 0;
                            const int o = g * CFG::group_outputs + (share ? 0 : turn);
                            const OUT part = products::template step<OUT>(patch[g], weights[o],
                                                                          step * CFG::step_words, share);
                            sum = step == 0 ? part : OUT(sum + part);
                            if (step == steps - 1) {
                                if (share) shared = -sum;
                                else out.write(finished<CFG>(sum, shared, bias[o]));
                            }
                        }
                    }
                }
            }
        }
    }
}

// y[i*sh+u-top, j*sw+v-left, o] += 2**product_shift * w[u,v,c,o] * (x[i,j,c] - z), plus bias[o] everywhere.
// The input is held in a frame buffer; each output element gathers its own terms. weights[o][u*kernel_width + v] holds
// the words of the weights of all channels.
template <class CFG, class IN, class OUT, class W, class B>
void conv_transpose2d(hls::stream<IN> &in, hls::stream<OUT> &out,
                      const W (&weights)[CFG::outputs][CFG::taps][CFG::words], const B (&bias)[CFG::outputs]) {
#pragma HLS ARRAY_RESHAPE variable=weights cyclic factor=CFG::step_words dim=3
    typedef typename CFG::products products;
    static typename products::held_t frame[CFG::height][CFG::width][CFG::terms];
#pragma HLS ARRAY_RESHAPE variable=frame cyclic factor=CFG::lanes dim=3
    static OUT shared[CFG::height][CFG::width];
    const int steps = schedule<CFG>::steps;
    OUT sum = 0, around = 0;
conv_transpose2d_load:
    for (int i = 0; i < CFG::height; ++i) {
        for (int j = 0; j < CFG::width; ++j) {
            for (int c = 0; c < CFG::terms; ++c) {
#pragma HLS PIPELINE II=1
                const typename products::held_t x =
                    products::hold(in.read() - typename CFG::zero_t(CFG::input_zero_point));
                frame[i][j][c] = x;
                if (products::counts) {
                    const OUT part = products::template shared<OUT>(x);
                    sum = c == 0 ? part : OUT(sum + part);
                    if (c == CFG::terms - 1) shared[i][j] = sum;
                }
            }
        }
    }
conv_transpose2d_rows:
    for (int r = 0; r < CFG::out_height; ++r) {
    conv_transpose2d_columns:
        for (int s = 0; s < CFG::out_width; ++s) {
        conv_transpose2d_outputs:
            for (int o = 0; o < CFG::outputs; ++o) {
            conv_transpose2d_taps:
                for (int u = 0; u < CFG::kernel_height; ++u) {
                    for (int v = 0; v < CFG::kernel_width; ++v) {
                        for (int step = 0; step < steps; ++step) {
#pragma HLS PIPELINE II=1
                            const int y = r + CFG::pad_top - u, x = s + CFG::pad_left - v;
                            const int i = y / CFG::stride_height, j = x / CFG::stride_width;
                            const bool used = y >= 0 && x >= 0 && y % CFG::stride_height == 0 &&
                                              x % CFG::stride_width == 0 && i < CFG::height && j < CFG::width;
                            const bool first = u == 0 && v == 0 && step == 0;
                            OUT tap = 0, own = 0;
                            if (used) {
                                tap = products::template step<OUT>(frame[i][j], weights[o][u * CFG::kernel_width + v],
                                                                   step * CFG::step_words);
                                if (products::counts && step == 0) own = shared[i][j];
                            }
                            sum = first ? tap : OUT(sum + tap);
                            around = first ? own : OUT(around + own);
                            if (u == CFG::kernel_height - 1 && v == CFG::kernel_width - 1 && step == steps - 1) {
                                out.write(finished<CFG>(sum, around, bias[o]));
                            }
                        }
                    }
                }
            }
        }
    }
}

// y[..., o] = 2**product_shift * sum_c w[c,o] * (x[..., c] - z) + bias[o]. weights[o] holds the words of the weights.
template <class CFG, class IN, class OUT, class W, class B>
void dense(hls::stream<IN> &in, hls::stream<OUT> &out, const W (&weights)[CFG::outputs][CFG::words],
           const B (&bias)[CFG::outputs]) {
#pragma HLS ARRAY_RESHAPE variable=weights cyclic factor=CFG::step_words dim=2
    typedef typename CFG::products products;
    typename products::held_t row[CFG::terms];
#pragma HLS ARRAY_PARTITION variable=row cyclic factor=CFG::lanes
    const int steps = schedule<CFG>::steps;
    OUT shared = 0, sum = 0;
dense_rows:
    for (int r = 0; r < CFG::rows; ++r) {
    dense_load:
        for (int c = 0; c < CFG::terms; ++c) {
#pragma HLS PIPELINE II=1
            const typename products::held_t x = products::hold(in.read() - typename CFG::zero_t(CFG::input_zero_point));
            row[c] = x;
            if (products::counts) shared = (c == 0 ? OUT(0) : shared) + products::template shared<OUT>(x);
        }
    dense_outputs:
        for (int o = 0; o < CFG::outputs; ++o) {
        dense_steps:
            for (int step = 0; step < steps; ++step) {
#pragma HLS PIPELINE II=1
                const OUT part = products::template step<OUT>(row, weights[o], step * CFG::step_words);
                sum = step == 0 ? part : OUT(sum + part);
                if (step == steps - 1) out.write(finished<CFG>(sum, shared, bias[o]));
            }
        }
    }
}

// y[..., i, k] = sum_j (a[..., i, j] - za) * (b[..., j, k] - zb). Of each matrix pair b is buffered whole (transposed),
// a row by row.
template <class CFG, class A, class B, class OUT>
void matmul(hls::stream<A> &a, hls::stream<B> &b, hls::stream<OUT> &out) {
    typename CFG::a_centred_t row[CFG::terms];
#pragma HLS ARRAY_PARTITION variable=row cyclic factor=CFG::lanes
    static typename CFG::b_centred_t columns[CFG::columns][CFG::terms];
#pragma HLS ARRAY_PARTITION variable=columns cyclic factor=CFG::lanes dim=2
    const int steps = (CFG::terms + CFG::lanes - 1) / CFG::lanes;
    typedef multiplied<typename CFG::a_centred_t, typename CFG::b_centred_t, CFG::terms, CFG::lanes> products;
    OUT sum = 0;
matmul_matrices:
    for (int m = 0; m < CFG::matrices; ++m) {
    matmul_load_b:
        for (int j = 0; j < CFG::terms; ++j) {
            for (int k = 0; k < CFG::columns; ++k) {
#pragma HLS PIPELINE II=1
                columns[k][j] = b.read() - typename CFG::b_zero_t(CFG::b_zero_point);
            }
        }
    matmul_rows:
        for (int i = 0; i < CFG::rows; ++i) {
        matmul_load_a:
            for (int j = 0; j < CFG::terms; ++j) {
#pragma HLS PIPELINE II=1
                row[j] = a.read() - typename CFG::a_zero_t(CFG::a_zero_point);
            }
        matmul_columns:
            for (int k = 0; k < CFG::columns; ++k) {
            matmul_steps:
                for (int step = 0; step < steps; ++step) {
#pragma HLS PIPELINE II=1
                    const OUT part = products::template step<OUT>(row, columns[k], step * CFG::lanes);
                    sum = step == 0 ? part : OUT(sum + part);
                    if (step == steps - 1) out.write(sum);
                }
            }
        }
    }
}

}  // namespace qsim

#endif
