// Kernels that move elements without computing: sources, sinks, padding, and rearrangement through a frame buffer.
#ifndef QSIM_LAYOUT_H
#define QSIM_LAYOUT_H

#include "qsim_types.h"

namespace qsim {

// y = values
template <class CFG, class OUT, class T>
void constant(hls::stream<OUT> &out, const T (&values)[CFG::elements]) {
constant_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        out.write(OUT(values[i]));
    }
}

// y = x, element by element (a reshape keeps the row-major order).
template <class CFG, class IN, class OUT>
void forward(hls::stream<IN> &in, hls::stream<OUT> &out) {
forward_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        out.write(OUT(in.read()));
    }
}

// Reads a tensor that nothing uses.
template <class CFG, class IN>
void discard(hls::stream<IN> &in) {
discard_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        in.read();
    }
}

// Row-major counter over ``sizes``; true when it has wrapped to the first position.
template <int RANK, class INDEX>
void advance(int (&position)[RANK], const INDEX (&sizes)[RANK]) {
#pragma HLS INLINE
    bool carry = true;
    for (int a = RANK - 1; a >= 0; --a) {
#pragma HLS UNROLL
        if (carry) {
            carry = position[a] == sizes[a] - 1;
            position[a] = carry ? 0 : position[a] + 1;
        }
    }
}

// y[p] = x.flat[start + sum_a p[a] * strides[a]] for p in row-major order over ``sizes``: transpose, slice, broadcast.
template <class CFG, class IN, class OUT, class INDEX>
void rearrange(hls::stream<IN> &in, hls::stream<OUT> &out, const INDEX (&sizes)[CFG::rank],
               const INDEX (&strides)[CFG::rank]) {
    static IN frame[CFG::elements];
    int position[CFG::rank];
#pragma HLS ARRAY_PARTITION variable=position complete
rearrange_load:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        frame[i] = in.read();
    }
    for (int a = 0; a < CFG::rank; ++a) {
#pragma HLS UNROLL
        position[a] = 0;
    }
rearrange_elements:
    for (int i = 0; i < CFG::out_elements; ++i) {
#pragma HLS PIPELINE II=1
        int index = CFG::start;
        for (int a = 0; a < CFG::rank; ++a) {
#pragma HLS UNROLL
            index += position[a] * strides[a];
        }
        out.write(OUT(frame[index]));
        advance<CFG::rank>(position, sizes);
    }
}

// y = x inside [before, after) of each axis, CFG::value elsewhere. sizes are the output's.
template <class CFG, class IN, class OUT, class INDEX>
void pad(hls::stream<IN> &in, hls::stream<OUT> &out, const INDEX (&sizes)[CFG::rank],
         const INDEX (&before)[CFG::rank], const INDEX (&after)[CFG::rank]) {
    int position[CFG::rank];
#pragma HLS ARRAY_PARTITION variable=position complete
    for (int a = 0; a < CFG::rank; ++a) {
#pragma HLS UNROLL
        position[a] = 0;
    }
pad_elements:
    for (int i = 0; i < CFG::out_elements; ++i) {
#pragma HLS PIPELINE II=1
        bool inside = true;
        for (int a = 0; a < CFG::rank; ++a) {
#pragma HLS UNROLL
            inside = inside && position[a] >= before[a] && position[a] < after[a];
        }
        OUT y = CFG::value;
        if (inside) y = in.read();
        out.write(y);
        advance<CFG::rank>(position, sizes);
    }
}

// y.flat[i] = x.flat[index[i]]
template <class CFG, class IN, class OUT, class INDEX>
void gather(hls::stream<IN> &in, hls::stream<OUT> &out, const INDEX (&index)[CFG::out_elements]) {
    static IN frame[CFG::elements];
gather_load:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        frame[i] = in.read();
    }
gather_elements:
    for (int i = 0; i < CFG::out_elements; ++i) {
#pragma HLS PIPELINE II=1
        out.write(OUT(frame[int(index[i])]));
    }
}

}  // namespace qsim

#endif
