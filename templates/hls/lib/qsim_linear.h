// Convolutions, dense layers and matrix products.
//
// Accumulators have the output tensor's format. A partial sum may pass beyond it and wrap: addition modulo 2**width is
// exact for the final sum, which qsim has proven to fit.
//
// CFG::lanes products are formed in parallel, so one output element takes ceil(terms / lanes) cycles. How they are
// formed is CFG::products, which follows from the values of the weights: see qsim_products.h.
#ifndef QSIM_LINEAR_H
#define QSIM_LINEAR_H

#include "qsim_products.h"
#include "qsim_window.h"

namespace qsim {

// sum_k w[k] * x[k], with the part that all outputs share and the factors that all weights share. Modulo OUT's width.
template <class CFG, class OUT, class HELD, class ROM>
OUT weighted_sum(const HELD (&x)[CFG::terms], const ROM (&words)[CFG::words], const OUT &common) {
#pragma HLS INLINE
    OUT sum = CFG::products::template dot<OUT>(x, words);
    if (CFG::products::counts) sum += common;
    return sum;
}

// The accumulated sum as output: factor and power of two that all weights share, and the bias.
template <class CFG, class OUT, class B>
OUT finished(const OUT &sum, const B &bias) {
#pragma HLS INLINE
    const OUT scaled = (sum * typename CFG::scale_t(CFG::weight_scale)) << CFG::product_shift;
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
    OUT common[CFG::groups];

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
            conv2d_common:
                for (int g = 0; products::counts && g < CFG::groups; ++g) {
                    common[g] = products::template common<OUT>(patch[g]);
                }
            conv2d_outputs:
                for (int o = 0; o < CFG::outputs; ++o) {
                    const int g = o / CFG::group_outputs;
                    out.write(finished<CFG>(weighted_sum<CFG, OUT>(patch[g], weights[o], common[g]), bias[o]));
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
    static OUT common[CFG::height][CFG::width];
conv_transpose2d_load:
    for (int i = 0; i < CFG::height; ++i) {
        for (int j = 0; j < CFG::width; ++j) {
            for (int c = 0; c < CFG::terms; ++c) {
#pragma HLS PIPELINE II=1
                frame[i][j][c] = products::hold(in.read() - typename CFG::zero_t(CFG::input_zero_point));
            }
            if (products::counts) common[i][j] = products::template common<OUT>(frame[i][j]);
        }
    }
conv_transpose2d_rows:
    for (int r = 0; r < CFG::out_height; ++r) {
    conv_transpose2d_columns:
        for (int s = 0; s < CFG::out_width; ++s) {
        conv_transpose2d_outputs:
            for (int o = 0; o < CFG::outputs; ++o) {
                OUT sum = 0;
            conv_transpose2d_taps:
                for (int u = 0; u < CFG::kernel_height; ++u) {
                    for (int v = 0; v < CFG::kernel_width; ++v) {
                        const int y = r + CFG::pad_top - u, x = s + CFG::pad_left - v;
                        const int i = y / CFG::stride_height, j = x / CFG::stride_width;
                        const bool used = y >= 0 && x >= 0 && y % CFG::stride_height == 0 &&
                                          x % CFG::stride_width == 0 && i < CFG::height && j < CFG::width;
                        if (used) {
                            sum += weighted_sum<CFG, OUT>(frame[i][j], weights[o][u * CFG::kernel_width + v],
                                                          common[i][j]);
                        }
                    }
                }
                out.write(finished<CFG>(sum, bias[o]));
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
dense_rows:
    for (int r = 0; r < CFG::rows; ++r) {
    dense_load:
        for (int c = 0; c < CFG::terms; ++c) {
#pragma HLS PIPELINE II=1
            row[c] = products::hold(in.read() - typename CFG::zero_t(CFG::input_zero_point));
        }
        const OUT common = products::counts ? products::template common<OUT>(row) : OUT(0);
    dense_outputs:
        for (int o = 0; o < CFG::outputs; ++o) {
            out.write(finished<CFG>(weighted_sum<CFG, OUT>(row, weights[o], common), bias[o]));
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
                out.write(dot<OUT, typename CFG::b_centred_t, CFG::terms, CFG::lanes>(row, columns[k]));
            }
        }
    }
}

}  // namespace qsim

#endif
