// Convolutions, dense layers and matrix products.
//
// Accumulators have the output tensor's format. A partial sum may pass beyond it and wrap: addition modulo 2**width is
// exact for the final sum, which qsim has proven to fit.
//
// CFG::lanes multipliers work in parallel on one output element, which takes ceil(terms / lanes) cycles.
#ifndef QSIM_LINEAR_H
#define QSIM_LINEAR_H

#include "qsim_window.h"

namespace qsim {

// sum of x[k] * w[k], modulo ACC's width
template <class ACC, class WEIGHT, int TERMS, int LANES, class X, class ROM>
ACC dot(const X (&x)[TERMS], const ROM (&w)[TERMS]) {
#pragma HLS INLINE
    ACC sum = 0;
dot_terms:
    for (int first = 0; first < TERMS; first += LANES) {
#pragma HLS PIPELINE II=1
    dot_lanes:
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            if (first + lane < TERMS) {
                const WEIGHT weight = w[first + lane];
                sum += x[first + lane] * weight;
            }
        }
    }
    return sum;
}

// y[i,j,o] = 2**product_shift * sum_{u,v,c} w[u,v,c,o] * (x[i*sh+u*dh-top, j*sw+v*dw-left, g*Cg+c] - z) + bias[o],
// group g = o / (outputs / groups), terms in the order u, v, c. Positions outside x hold z.
// weights[o][(u*kernel_width + v)*group_channels + c].
template <class CFG, class IN, class OUT, class W, class B>
void conv2d(hls::stream<IN> &in, hls::stream<OUT> &out, const W (&weights)[CFG::outputs][CFG::terms],
            const B (&bias)[CFG::outputs]) {
#pragma HLS ARRAY_RESHAPE variable=weights cyclic factor=CFG::lanes dim=2
    typedef typename CFG::centred_t centred_t;
    const int rows = (CFG::kernel_height - 1) * CFG::dilation_height + 1;
    const int columns = (CFG::kernel_width - 1) * CFG::dilation_width + 1;
    const int padded_height = CFG::pad_top + CFG::height + CFG::pad_bottom;
    const int padded_width = CFG::pad_left + CFG::width + CFG::pad_right;

    static centred_t lines[rows > 1 ? rows - 1 : 1][padded_width][CFG::channels];
#pragma HLS ARRAY_PARTITION variable=lines complete dim=1
    static centred_t window[rows][columns][CFG::channels];
#pragma HLS ARRAY_PARTITION variable=window complete dim=0
    centred_t patch[CFG::groups][CFG::terms];
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
                centred_t x = 0;
                if (inside) x = in.read() - typename CFG::zero_t(CFG::input_zero_point);
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
            conv2d_outputs:
                for (int o = 0; o < CFG::outputs; ++o) {
                    const OUT sum = dot<OUT, typename CFG::weight_t, CFG::terms, CFG::lanes>(
                        patch[o / CFG::group_outputs], weights[o]);
                    const OUT scaled = sum << CFG::product_shift;
                    out.write(scaled + typename CFG::bias_t(bias[o]));
                }
            }
        }
    }
}

// y[i*sh+u-top, j*sw+v-left, o] += 2**product_shift * w[u,v,c,o] * (x[i,j,c] - z), plus bias[o] everywhere.
// The input is held in a frame buffer; each output element gathers its own terms. weights[o][u*kernel_width + v][c].
template <class CFG, class IN, class OUT, class W, class B>
void conv_transpose2d(hls::stream<IN> &in, hls::stream<OUT> &out,
                      const W (&weights)[CFG::outputs][CFG::taps][CFG::channels], const B (&bias)[CFG::outputs]) {
#pragma HLS ARRAY_RESHAPE variable=weights cyclic factor=CFG::lanes dim=3
    typedef typename CFG::centred_t centred_t;
    static centred_t frame[CFG::height][CFG::width][CFG::channels];
#pragma HLS ARRAY_RESHAPE variable=frame cyclic factor=CFG::lanes dim=3
conv_transpose2d_load:
    for (int i = 0; i < CFG::height; ++i) {
        for (int j = 0; j < CFG::width; ++j) {
            for (int c = 0; c < CFG::channels; ++c) {
#pragma HLS PIPELINE II=1
                frame[i][j][c] = in.read() - typename CFG::zero_t(CFG::input_zero_point);
            }
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
                            sum += dot<OUT, typename CFG::weight_t, CFG::channels, CFG::lanes>(
                                frame[i][j], weights[o][u * CFG::kernel_width + v]);
                        }
                    }
                }
                const OUT scaled = sum << CFG::product_shift;
                out.write(scaled + typename CFG::bias_t(bias[o]));
            }
        }
    }
}

// y[..., o] = 2**product_shift * sum_c w[c,o] * (x[..., c] - z) + bias[o]. weights[o][c].
template <class CFG, class IN, class OUT, class W, class B>
void dense(hls::stream<IN> &in, hls::stream<OUT> &out, const W (&weights)[CFG::outputs][CFG::terms],
           const B (&bias)[CFG::outputs]) {
#pragma HLS ARRAY_RESHAPE variable=weights cyclic factor=CFG::lanes dim=2
    typename CFG::centred_t row[CFG::terms];
#pragma HLS ARRAY_PARTITION variable=row cyclic factor=CFG::lanes
dense_rows:
    for (int r = 0; r < CFG::rows; ++r) {
    dense_load:
        for (int c = 0; c < CFG::terms; ++c) {
#pragma HLS PIPELINE II=1
            row[c] = in.read() - typename CFG::zero_t(CFG::input_zero_point);
        }
    dense_outputs:
        for (int o = 0; o < CFG::outputs; ++o) {
            const OUT sum = dot<OUT, typename CFG::weight_t, CFG::terms, CFG::lanes>(row, weights[o]);
            const OUT scaled = sum << CFG::product_shift;
            out.write(scaled + typename CFG::bias_t(bias[o]));
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
