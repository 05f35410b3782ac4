// Rounding and overflow, written out on integers. Names are those of Vitis (UG1399) without their AP_ prefix.
#ifndef QSIM_ROUND_H
#define QSIM_ROUND_H

#include "qsim_types.h"

namespace qsim {

enum Rounding {
    TRN,          // toward minus infinity
    TRN_ZERO,     // toward zero
    RND,          // nearest, ties up
    RND_ZERO,     // nearest, ties toward zero
    RND_MIN_INF,  // nearest, ties down
    RND_INF,      // nearest, ties away from zero
    RND_CONV      // nearest, ties to even
};

// Whether the result is floor + 1. With remainder / divisor in [0, 1): guard says that it is at least one half, sticky
// that it is neither zero nor one half exactly. odd: the floor is odd. negative: the value before rounding is.
template <Rounding MODE>
bool round_up(bool guard, bool sticky, bool odd, bool negative) {
#pragma HLS INLINE
    switch (MODE) {
        case TRN: return false;
        case TRN_ZERO: return negative && (guard || sticky);
        case RND: return guard;
        case RND_ZERO: return guard && (sticky || negative);
        case RND_MIN_INF: return guard && sticky;
        case RND_INF: return guard && (sticky || !negative);
        default: return guard && (sticky || odd);
    }
}

// round(value * 2**-shift); a negative shift is a left shift. Needs |value| < 2**(WIDTH-2), left shifts included: then
// a shift beyond WIDTH-1 gives the same as WIDTH-1.
template <Rounding MODE, int WIDTH>
ap_int<WIDTH> shift_rounded(const ap_int<WIDTH> &value, int shift) {
#pragma HLS INLINE
    if (shift <= 0) return value << -shift;
    const int s = shift < WIDTH ? shift : WIDTH - 1;
    const ap_int<WIDTH> floor = value >> s;
    const ap_uint<WIDTH> dropped = ap_uint<WIDTH>(value) << (WIDTH - s);
    const ap_uint<WIDTH> below_guard = dropped << 1;
    const bool up = round_up<MODE>(dropped[WIDTH - 1], below_guard != 0, floor[0], value < 0);
    return floor + ap_uint<1>(up);
}

// round(value / divisor), divisor > 0. Needs 2 * divisor < 2**(WIDTH-1).
template <Rounding MODE, int WIDTH>
ap_int<WIDTH> divide_rounded(const ap_int<WIDTH> &value, const ap_int<WIDTH> &divisor) {
#pragma HLS INLINE
    ap_int<WIDTH> floor = value / divisor;
    ap_int<WIDTH> remainder = value - floor * divisor;
    if (remainder < 0) {
        floor -= 1;
        remainder += divisor;
    }
    const ap_int<WIDTH> twice = remainder << 1;
    const bool guard = twice >= divisor;
    const bool sticky = guard ? twice != divisor : remainder != 0;
    const bool up = round_up<MODE>(guard, sticky, floor[0], value < 0);
    return floor + ap_uint<1>(up);
}

enum Overflow {
    WRAP,      // keep the low bits
    SAT,       // clip to [low, high]
    SAT_ZERO,  // zero outside [low, high]
    SAT_SYM,   // clip to [-high, high]: SAT with low = -high
    WRAP_SM    // fold back: invert the kept bits where the sign differs from the lowest dropped bit
};

// Bring ``value`` into OUT. WIDTH is greater than OUT's width, so that the lowest dropped bit exists.
template <Overflow MODE, class OUT, int WIDTH>
OUT overflow(const ap_int<WIDTH> &value, const ap_int<WIDTH> &low, const ap_int<WIDTH> &high) {
#pragma HLS INLINE
    const OUT kept = value;
    switch (MODE) {
        case WRAP: return kept;
        case SAT:
        case SAT_SYM: return value < low ? OUT(low) : value > high ? OUT(high) : kept;
        case SAT_ZERO: return value < low || value > high ? OUT(0) : kept;
        default: {
            const bool is_signed = OUT(-1) < 0;
            return is_signed && value[OUT::width] != value[OUT::width - 1] ? OUT(~kept) : kept;
        }
    }
}

}  // namespace qsim

#endif
