// TensorFlow Lite's integer softmax over the last axis. Fixed-point formats are written Qi.f: i integer bits and
// f = 31 - i fractional bits in an int32.
#ifndef QSIM_SOFTMAX_H
#define QSIM_SOFTMAX_H

#include "qsim_rescale.h"

namespace qsim {

typedef ap_int<32> q31;

// round(x * 2**-exponent), ties away from zero
inline ap_int<40> divide_pot(const ap_int<40> &x, int exponent) {
#pragma HLS INLINE
    return shift_rounded<RND_INF, 40>(x, exponent);
}

inline q31 saturating_shift_left(const ap_int<40> &x, int exponent) {
#pragma HLS INLINE
    const ap_int<40> shifted = x << exponent;
    const ap_int<40> highest = 0x7fffffff, lowest = -highest - 1;
    return shifted > highest ? highest : shifted < lowest ? lowest : shifted;
}

// exp(a) for a in [-1/4, 0), Q0.31: a Taylor polynomial of degree four around -1/8.
inline q31 exp_on_interval(const q31 &a) {
#pragma HLS INLINE
    const q31 exp_minus_eighth = 1895147668, one_third = 715827883;
    const q31 x = a + (q31(1) << 28);
    const q31 x2 = doubling_high_mul(x, x);
    const q31 x3 = doubling_high_mul(x2, x);
    const q31 x4 = doubling_high_mul(x2, x2);
    const q31 x4_over_4 = divide_pot(x4, 2);
    const q31 cubic = doubling_high_mul(q31(x4_over_4 + x3), one_third);
    const q31 inner = divide_pot(ap_int<40>(cubic + x2), 1);
    return exp_minus_eighth + doubling_high_mul(exp_minus_eighth, q31(x + inner));
}

// exp(a) for a <= 0 in Q5.26, result in Q0.31: the fraction by polynomial, then a factor exp(-2**(bit-2)) per bit.
inline q31 exp_on_negative_values(const q31 &a) {
#pragma HLS INLINE
    const q31 factors[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
#pragma HLS ARRAY_PARTITION variable=factors complete
    const int fraction_bits = 26;
    const q31 quarter = q31(1) << (fraction_bits - 2);
    const q31 modulo = (a & q31(quarter - 1)) - quarter;
    const q31 remainder = modulo - a;
    q31 result = exp_on_interval(q31(modulo << 5));
exp_bits:
    for (int bit = 0; bit < 7; ++bit) {
#pragma HLS UNROLL
        if (remainder[fraction_bits - 2 + bit]) result = doubling_high_mul(result, factors[bit]);
    }
    return a == 0 ? q31(0x7fffffff) : result;
}

// 1 / (1 + a) for a in [0, 1), Q0.31: three Newton-Raphson steps on the half denominator, in Q2.29.
inline q31 one_over_one_plus_x(const q31 &a) {
#pragma HLS INLINE
    const q31 constant_48_over_17 = 1515870810, constant_neg_32_over_17 = -1010580540, one = q31(1) << 29;
    const q31 half_denominator = divide_pot(ap_int<40>(a) + ap_int<40>(0x7fffffff), 1);
    ap_int<40> x = constant_48_over_17 + doubling_high_mul(half_denominator, constant_neg_32_over_17);
newton_raphson:
    for (int step = 0; step < 3; ++step) {
#pragma HLS UNROLL
        const q31 product = doubling_high_mul(half_denominator, q31(x));
        const q31 error = one - product;
        x += saturating_shift_left(ap_int<40>(doubling_high_mul(q31(x), error)), 2);
    }
    return saturating_shift_left(x, 1);
}

// For d = x - max(x) >= diff_min: y = clamp(RDBPOT(exp(d) * reciprocal(sum)) + low); others give low, the format's
// least code.
template <class CFG, class IN, class OUT>
void softmax(hls::stream<IN> &in, hls::stream<OUT> &out) {
    IN row[CFG::size];
    q31 exps[CFG::size];
softmax_rows:
    for (int r = 0; r < CFG::rows; ++r) {
        IN highest = 0;
    softmax_load:
        for (int c = 0; c < CFG::size; ++c) {
#pragma HLS PIPELINE II=1
            const IN x = in.read();
            row[c] = x;
            if (c == 0 || x > highest) highest = x;
        }
        ap_uint<32> sum = 0;
    softmax_exponentials:
        for (int c = 0; c < CFG::size; ++c) {
#pragma HLS PIPELINE II=1
            const ap_int<40> difference = row[c] - highest;
            if (difference >= CFG::diff_min) {
                const q31 shifted = difference << CFG::input_left_shift;
                exps[c] = exp_on_negative_values(doubling_high_mul(shifted, q31(CFG::input_multiplier)));
                sum += ap_uint<32>(divide_pot(exps[c], 12));
            }
        }
        int headroom = 31;
    softmax_headroom:
        for (int bit = 0; bit < 32; ++bit) {
#pragma HLS UNROLL
            if (sum[bit]) headroom = 31 - bit;
        }
        const ap_uint<32> normalised = sum << headroom;
        const q31 fraction = normalised & ap_uint<32>(0x7fffffff);  // the top bit is the one of 1 + fraction
        const q31 reciprocal = one_over_one_plus_x(fraction);
        const int exponent = 12 - headroom + 31 - OUT::width;
    softmax_write:
        for (int c = 0; c < CFG::size; ++c) {
#pragma HLS PIPELINE II=1
            const ap_int<40> difference = row[c] - highest;
            const ap_int<40> low = CFG::low, high = CFG::high;
            ap_int<40> y = low;
            if (difference >= CFG::diff_min) y = divide_pot(doubling_high_mul(exps[c], reciprocal), exponent) + low;
            out.write(OUT(y < low ? low : y > high ? high : y));
        }
    }
}

}  // namespace qsim

#endif
