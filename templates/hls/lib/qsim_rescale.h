// Rescale by multiplier and shift: the five schemes, each as integer arithmetic.
//
// apply(x, multiplier, addend, shift) gives the rescaled value before zero point and overflow. ``shift`` is a right
// shift. WIDTH is the width that qsim has proven sufficient for every intermediate value of this layer.
#ifndef QSIM_RESCALE_H
#define QSIM_RESCALE_H

#include "qsim_round.h"

namespace qsim {

enum Scheme { PLAIN, TFLITE_DOUBLE, TFLITE_UPWARD, TFLITE_SINGLE, FLOAT32 };

// Saturating rounding doubling high multiply (gemmlowp): (a*b + nudge) / 2**31, truncated toward zero,
// nudge = 2**30 if a*b >= 0 else 1 - 2**30; INT32_MIN squared saturates.
inline ap_int<32> doubling_high_mul(const ap_int<32> &a, const ap_int<32> &b) {
#pragma HLS INLINE
    const ap_int<64> product = a * b;
    const ap_int<65> half = ap_int<65>(1) << 30;
    const ap_int<65> nudged = product + (product < 0 ? ap_int<65>(1 - half) : half);
    const ap_int<65> magnitude = nudged < 0 ? ap_int<65>(-nudged) : nudged;
    const ap_int<34> quotient = magnitude >> 31;
    const ap_int<34> truncated = nudged < 0 ? ap_int<34>(-quotient) : quotient;
    const ap_int<34> highest = 0x7fffffff;
    return truncated > highest ? highest : truncated;
}

template <Scheme SCHEME, Rounding MODE, int WIDTH>
struct rescale;

// round((x*m + a) * 2**-s)
template <Rounding MODE, int WIDTH>
struct rescale<PLAIN, MODE, WIDTH> {
    template <class X, class M, class A>
    static ap_int<WIDTH> apply(const X &x, const M &multiplier, const A &addend, int shift) {
#pragma HLS INLINE
        const ap_int<WIDTH> scaled = x * multiplier + addend;
        return shift_rounded<MODE, WIDTH>(scaled, shift);
    }
};

// Two roundings: RoundingDivideByPOT(doubling_high_mul(x * 2**max(-s,0), m), max(s,0)).
template <Rounding MODE, int WIDTH>
struct two_roundings {
    template <class X, class M, class A>
    static ap_int<WIDTH> apply(const X &x, const M &multiplier, const A &, int shift) {
#pragma HLS INLINE
        const ap_int<32> shifted = ap_int<32>(x) << (shift < 0 ? -shift : 0);  // wraps as int32 does
        const ap_int<34> high = doubling_high_mul(shifted, ap_int<32>(multiplier));
        return shift_rounded<MODE, 34>(high, shift > 0 ? shift : 0);
    }
};
template <Rounding MODE, int WIDTH>
struct rescale<TFLITE_DOUBLE, MODE, WIDTH> : two_roundings<RND_INF, WIDTH> {};
template <Rounding MODE, int WIDTH>
struct rescale<TFLITE_UPWARD, MODE, WIDTH> : two_roundings<RND, WIDTH> {};

// (x*m + 2**(30+s)) >> (31+s)
template <Rounding MODE, int WIDTH>
struct rescale<TFLITE_SINGLE, MODE, WIDTH> {
    template <class X, class M, class A>
    static ap_int<WIDTH> apply(const X &x, const M &multiplier, const A &, int shift) {
#pragma HLS INLINE
        const ap_int<WIDTH> product = x * multiplier;
        return shift_rounded<RND, WIDTH>(product, 31 + shift);
    }
};

// round_half_even(float32(float32(x) * m)) * 2**-s in integers: keep 24 significant bits of x, multiply, keep 24
// significant bits of the product, round to an integer; each step to nearest, ties to even.
template <Rounding MODE, int WIDTH>
struct rescale<FLOAT32, MODE, WIDTH> {
    // value becomes its 24 most significant bits, rounded; the return value is how many bits were dropped.
    static int significant24(ap_int<WIDTH> &value) {
#pragma HLS INLINE
        const ap_uint<WIDTH> magnitude = value < 0 ? ap_int<WIDTH>(-value) : value;
        int length = 0;
    float32_length:
        for (int bit = 0; bit < WIDTH; ++bit) {
#pragma HLS UNROLL
            if (magnitude[bit]) length = bit + 1;
        }
        const int dropped = length > 24 ? length - 24 : 0;
        value = shift_rounded<RND_CONV, WIDTH>(value, dropped);
        return dropped;
    }

    template <class X, class M, class A>
    static ap_int<WIDTH> apply(const X &x, const M &multiplier, const A &, int shift) {
#pragma HLS INLINE
        ap_int<WIDTH> significand = x;
        const int x_dropped = significant24(significand);
        ap_int<WIDTH> product = significand * multiplier;
        const int product_dropped = significant24(product);
        return shift_rounded<RND_CONV, WIDTH>(product, shift - x_dropped - product_dropped);
    }
};

}  // namespace qsim

#endif
