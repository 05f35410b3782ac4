// Elementwise kernels: one element in, one element out per cycle.
//
// Constant parameters repeat with CFG::period along the stream: period 1 is one value for the tensor, the number of
// channels is one value per channel.
#ifndef QSIM_ELEMENTWISE_H
#define QSIM_ELEMENTWISE_H

#include "qsim_rescale.h"

namespace qsim {

// y = overflow(round((x - input_zero_point) * 2**-shift) + zero_point)
template <class CFG, class IN, class OUT>
void requantize_shift(hls::stream<IN> &in, hls::stream<OUT> &out) {
    typedef ap_int<CFG::width> wide;
requantize_shift_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        const wide centred = in.read() - wide(CFG::input_zero_point);
        const wide rounded = shift_rounded<CFG::rounding, CFG::width>(centred, CFG::shift);
        out.write(overflow<CFG::overflow, OUT, CFG::width>(rounded + wide(CFG::zero_point), CFG::low, CFG::high));
    }
}

// y = overflow(r(x - input_zero_point) + zero_point), r by multiplier, addend and shift in CFG::scheme.
template <class CFG, class IN, class OUT, class M, class A, class S>
void requantize(hls::stream<IN> &in, hls::stream<OUT> &out, const M (&multiplier)[CFG::period],
                const A (&addend)[CFG::period], const S (&shift)[CFG::period]) {
    typedef ap_int<CFG::width> wide;
    typedef rescale<CFG::scheme, CFG::rounding, CFG::width> scheme;
    int p = 0;
requantize_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        const typename CFG::centred_t centred = in.read() - wide(CFG::input_zero_point);
        const typename CFG::multiplier_t m = multiplier[p];
        const typename CFG::addend_t a = addend[p];
        const wide y = scheme::apply(centred, m, a, shift[p]) + wide(CFG::zero_point);
        out.write(overflow<CFG::overflow, OUT, CFG::width>(y, CFG::low, CFG::high));
        p = p == CFG::period - 1 ? 0 : p + 1;
    }
}

// As requantize, with a rescale of its own (negative_*) where x < input_zero_point.
template <class CFG, class IN, class OUT, class M, class A, class S, class NM, class NA, class NS>
void requantize_two_sided(hls::stream<IN> &in, hls::stream<OUT> &out, const M (&multiplier)[CFG::period],
                          const A (&addend)[CFG::period], const S (&shift)[CFG::period],
                          const NM (&negative_multiplier)[CFG::period], const NA (&negative_addend)[CFG::period],
                          const NS (&negative_shift)[CFG::period]) {
    typedef ap_int<CFG::width> wide;
    typedef rescale<CFG::scheme, CFG::rounding, CFG::width> positive;
    typedef rescale<CFG::negative_scheme, CFG::negative_rounding, CFG::width> negative;
    int p = 0;
requantize_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        const typename CFG::centred_t centred = in.read() - wide(CFG::input_zero_point);
        const typename CFG::multiplier_t m = multiplier[p];
        const typename CFG::addend_t a = addend[p];
        const typename CFG::negative_multiplier_t nm = negative_multiplier[p];
        const typename CFG::negative_addend_t na = negative_addend[p];
        const wide y = centred < 0 ? negative::apply(centred, nm, na, negative_shift[p])
                                   : positive::apply(centred, m, a, shift[p]);
        const wide with_zero_point = y + wide(CFG::zero_point);
        out.write(overflow<CFG::overflow, OUT, CFG::width>(with_zero_point, CFG::low, CFG::high));
        p = p == CFG::period - 1 ? 0 : p + 1;
    }
}

// y = clip(round((x * numerator + addend) / divisor) + zero_point)
template <class CFG, class IN, class OUT, class N, class A, class D>
void divide(hls::stream<IN> &in, hls::stream<OUT> &out, const N (&numerator)[CFG::period],
            const A (&addend)[CFG::period], const D (&divisor)[CFG::period]) {
    typedef ap_int<CFG::width> wide;
    int p = 0;
divide_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        const typename CFG::numerator_t n = numerator[p];
        const typename CFG::addend_t a = addend[p];
        const wide fraction = in.read() * n + a;
        const wide quotient = divide_rounded<CFG::rounding, CFG::width>(fraction, wide(divisor[p]));
        out.write(overflow<SAT, OUT, CFG::width>(quotient + wide(CFG::zero_point), CFG::low, CFG::high));
        p = p == CFG::period - 1 ? 0 : p + 1;
    }
}

// y = base[c] + step[c] * #{k : x >= thresholds[c][k]}, c = channel, or 0 where one row serves all channels.
template <class CFG, class IN, class OUT, class T, class B, class S>
void threshold(hls::stream<IN> &in, hls::stream<OUT> &out, const T (&thresholds)[CFG::channels][CFG::steps],
               const B (&base)[CFG::channels], const S (&step)[CFG::channels]) {
#pragma HLS ARRAY_RESHAPE variable=thresholds complete dim=2
    int c = 0;
threshold_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        const IN x = in.read();
        typename CFG::count_t count = 0;
    threshold_count:
        for (int k = 0; k < CFG::steps; ++k) {
#pragma HLS UNROLL
            const typename CFG::threshold_t t = thresholds[c][k];
            if (x >= t) count += 1;
        }
        const typename CFG::step_t s = step[c];
        const typename CFG::base_t b = base[c];
        out.write(b + s * count);
        c = c == CFG::channels - 1 ? 0 : c + 1;
    }
}

// y = table[c][x - table_low]. The table is filled up to a power of two, the size that index_t can address.
template <class CFG, class IN, class OUT, class T>
void lookup(hls::stream<IN> &in, hls::stream<OUT> &out, const T (&table)[CFG::channels][CFG::entries]) {
    int c = 0;
lookup_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        const typename CFG::index_t index = in.read() - typename CFG::low_t(CFG::table_low);
        out.write(OUT(table[c][index.to_uint()]));
        c = c == CFG::channels - 1 ? 0 : c + 1;
    }
}

}  // namespace qsim

#endif
