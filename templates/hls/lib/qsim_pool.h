// Pools, reductions and argmax.
#ifndef QSIM_POOL_H
#define QSIM_POOL_H

#include "qsim_window.h"

namespace qsim {

enum Reduction { SUM, MAX, MIN };

// One step of a reduction. CFG::partial_t is the output's type for a sum, which may wrap on the way and whose final
// value is proven to fit, and the input's type for a maximum or minimum.
template <Reduction KIND, class ACC, class X>
ACC reduce_step(const ACC &so_far, const X &x) {
#pragma HLS INLINE
    const ACC value = x;
    switch (KIND) {
        case SUM: return so_far + value;
        case MAX: return value > so_far ? value : so_far;
        default: return value < so_far ? value : so_far;
    }
}

// Pool whose windows do not overlap and all touch the image: one accumulator per output column and channel, no window
// buffer. y[i,j,c] = sum or max over the positions of window (i, j) that lie inside the image.
template <class CFG, class IN, class OUT>
void pool_disjoint(hls::stream<IN> &in, hls::stream<OUT> &out) {
    typedef typename CFG::partial_t partial_t;
    static partial_t partial[CFG::out_width][CFG::channels];
    int i = CFG::pad_top / CFG::stride_height, u = CFG::pad_top % CFG::stride_height;
pool_rows:
    for (int r = 0; r < CFG::height; ++r) {
        const bool first_row = u == 0 || r == 0;
        const bool last_row = u == CFG::pool_height - 1 || r == CFG::height - 1;
        const bool row_used = u < CFG::pool_height && i < CFG::out_height;
        int j = CFG::pad_left / CFG::stride_width, v = CFG::pad_left % CFG::stride_width;
    pool_columns:
        for (int c = 0; c < CFG::width; ++c) {
            const bool used = row_used && v < CFG::pool_width && j < CFG::out_width;
            const bool first = first_row && (v == 0 || c == 0);
            const bool last = last_row && (v == CFG::pool_width - 1 || c == CFG::width - 1);
        pool_channels:
            for (int channel = 0; channel < CFG::channels; ++channel) {
#pragma HLS PIPELINE II=1
                const IN x = in.read();
                if (used) {
                    partial_t y = x;
                    if (!first) y = reduce_step<CFG::kind, partial_t>(partial[j][channel], x);
                    partial[j][channel] = y;
                    if (last) out.write(OUT(y));
                }
            }
            if (v == CFG::stride_width - 1) {
                v = 0;
                ++j;
            } else {
                ++v;
            }
        }
        if (u == CFG::stride_height - 1) {
            u = 0;
            ++i;
        } else {
            ++u;
        }
    }
}

// Pool with any window: line buffer and register window. CFG::outside is what positions outside the image hold: 0 for
// a sum, the least code of the input's format for a maximum.
template <class CFG, class IN, class OUT>
void pool_window(hls::stream<IN> &in, hls::stream<OUT> &out) {
    typedef typename CFG::partial_t partial_t;
    const int padded_height = CFG::pad_top + CFG::height + CFG::pad_bottom;
    const int padded_width = CFG::pad_left + CFG::width + CFG::pad_right;
    static IN lines[CFG::pool_height > 1 ? CFG::pool_height - 1 : 1][padded_width][CFG::channels];
#pragma HLS ARRAY_PARTITION variable=lines complete dim=1
    static IN window[CFG::pool_height][CFG::pool_width][CFG::channels];
#pragma HLS ARRAY_PARTITION variable=window complete dim=1
#pragma HLS ARRAY_PARTITION variable=window complete dim=2
pool_rows:
    for (int r = 0; r < padded_height; ++r) {
    pool_columns:
        for (int c = 0; c < padded_width; ++c) {
            const bool inside = r >= CFG::pad_top && r < CFG::pad_top + CFG::height && c >= CFG::pad_left &&
                                c < CFG::pad_left + CFG::width;
            const bool complete = at_window_end<CFG::pool_height, CFG::stride_height>(r) &&
                                  at_window_end<CFG::pool_width, CFG::stride_width>(c);
        pool_channels:
            for (int channel = 0; channel < CFG::channels; ++channel) {
#pragma HLS PIPELINE II=1
                IN x = CFG::outside;
                if (inside) x = in.read();
                shift_in<CFG::pool_height, CFG::pool_width, padded_width, CFG::channels>(lines, window, c, channel, x);
                partial_t y = window[0][0][channel];
            pool_taps:
                for (int t = 1; t < CFG::pool_height * CFG::pool_width; ++t) {
#pragma HLS UNROLL
                    const IN x_t = window[t / CFG::pool_width][t % CFG::pool_width][channel];
                    y = reduce_step<CFG::kind, partial_t>(y, x_t);
                }
                if (complete) out.write(OUT(y));
            }
        }
    }
}

// y = sum, max or min over some axes. Element i of the input, at position (p0, p1, ...), belongs to output element
// sum of p_a * stride[a], where reduced axes have stride 0; sizes and strides are CFG's.
template <class CFG, class IN, class OUT, class INDEX>
void reduce(hls::stream<IN> &in, hls::stream<OUT> &out, const INDEX (&sizes)[CFG::rank],
            const INDEX (&strides)[CFG::rank]) {
    typedef typename CFG::partial_t partial_t;
    static partial_t partial[CFG::out_elements];
    static bool started[CFG::out_elements];
    int position[CFG::rank];
#pragma HLS ARRAY_PARTITION variable=position complete
reduce_clear:
    for (int o = 0; o < CFG::out_elements; ++o) {
#pragma HLS PIPELINE II=1
        started[o] = false;
    }
    for (int a = 0; a < CFG::rank; ++a) {
#pragma HLS UNROLL
        position[a] = 0;
    }
reduce_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE
        const IN x = in.read();
        int o = 0;
        for (int a = 0; a < CFG::rank; ++a) {
#pragma HLS UNROLL
            o += position[a] * strides[a];
        }
        partial[o] = started[o] ? reduce_step<CFG::kind, partial_t>(partial[o], x) : partial_t(x);
        started[o] = true;
        bool carry = true;
        for (int a = CFG::rank - 1; a >= 0; --a) {
#pragma HLS UNROLL
            if (carry) {
                carry = position[a] == sizes[a] - 1;
                position[a] = carry ? 0 : position[a] + 1;
            }
        }
    }
reduce_write:
    for (int o = 0; o < CFG::out_elements; ++o) {
#pragma HLS PIPELINE II=1
        out.write(OUT(partial[o]));
    }
}

// y = the first index of the maximum along the middle of (outer, size, inner).
template <class CFG, class IN, class OUT>
void argmax(hls::stream<IN> &in, hls::stream<OUT> &out) {
    IN best[CFG::inner];
    OUT index[CFG::inner];
argmax_outer:
    for (int o = 0; o < CFG::outer; ++o) {
    argmax_along:
        for (int k = 0; k < CFG::size; ++k) {
        argmax_inner:
            for (int i = 0; i < CFG::inner; ++i) {
#pragma HLS PIPELINE II=1
                const IN x = in.read();
                if (k == 0 || x > best[i]) {
                    best[i] = x;
                    index[i] = k;
                }
            }
        }
    argmax_write:
        for (int i = 0; i < CFG::inner; ++i) {
#pragma HLS PIPELINE II=1
            out.write(index[i]);
        }
    }
}

}  // namespace qsim

#endif
