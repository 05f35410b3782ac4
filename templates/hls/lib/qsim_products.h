// How a layer forms its sums of products: multipliers, or what the values of its weights allow instead.
//
// A layer's configuration names one of these as CFG::products. Each defines
//
//   held_t                what buffers and windows hold of one input element; 0 stands for a position outside
//   hold(x)               the input element x (its zero point subtracted) as held_t
//   step(x, words, first) what PARALLEL words from ``first`` on add to the sum, modulo ACC's width
//   counts                whether sums are found by counting bits; then
//   shared(x)             what each input element adds for all outputs alike
//   step(x, words, first, true)   the same for all elements of a step, negated, by the hardware of the other steps
//
// so that sum_k w[k] * x[k] = CFG::weight_scale * sum of step(x, words, first), or where it counts
// CFG::weight_scale * (2 * sum of step(x, words, first) + sum of shared(x[k])).
//
// Packed weights stand in words of PER_WORD weights, weight 0 in the lowest bits; the last word of an output is padded
// with zeros, which are not used. A step takes one cycle: PER_WORD * PARALLEL products.
#ifndef QSIM_PRODUCTS_H
#define QSIM_PRODUCTS_H

#include "qsim_types.h"

namespace qsim {

// What products that hold the input elements themselves have in common. HELD has a sign bit if an element can be
// negative.
template <class HELD>
struct hold_elements {
    typedef HELD held_t;
    static const bool counts = false;

    template <class X>
    static held_t hold(const X &x) {
#pragma HLS INLINE
        return x;
    }

    template <class ACC>
    static ACC shared(const held_t &) {
#pragma HLS INLINE
        return 0;
    }
};

// Any weights: one multiplier for each of LANES products. A word is a weight.
template <class HELD, class WEIGHT, int TERMS, int LANES>
struct multiplied : hold_elements<HELD> {
    template <class ACC, class ROM>
    static ACC step(const HELD (&x)[TERMS], const ROM (&weights)[TERMS], int first, bool = false) {
#pragma HLS INLINE
        ACC sum = 0;
    multiplied_lanes:
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            if (first + lane < TERMS) {
                const WEIGHT weight = weights[first + lane];
                sum += x[first + lane] * weight;
            }
        }
        return sum;
    }
};

// A weight of +1 (bit 1) or -1 (bit 0): add or subtract.
struct binary_code {
    static const int bits = 1;

    template <class ACC, class X>
    static ACC product(const X &x, const ap_uint<bits> &code) {
#pragma HLS INLINE
        return code[0] ? ACC(x) : ACC(-x);
    }
};

// A weight of 0, +1 or -1: bit 0 says that it is not 0, bit 1 that it is -1. Add, subtract or neither.
struct ternary_code {
    static const int bits = 2;

    template <class ACC, class X>
    static ACC product(const X &x, const ap_uint<bits> &code) {
#pragma HLS INLINE
        const ACC magnitude = code[0] ? ACC(x) : ACC(0);
        return code[1] ? ACC(-magnitude) : magnitude;
    }
};

// A weight of +-2**n: the low FIELD bits hold n, or, where ZERO, n + 1, 0 standing for a weight of 0; the bit above
// them says that the weight is negative. Shift, then add or subtract. SHIFTED holds x * 2**n for the greatest n.
template <class SHIFTED, int FIELD, bool ZERO>
struct power_of_two_code {
    static const int bits = FIELD + 1;

    template <class ACC, class X>
    static ACC product(const X &x, const ap_uint<bits> &code) {
#pragma HLS INLINE
        const ap_uint<FIELD> field = code;
        const bool used = !ZERO || field != 0;
        const ap_uint<FIELD> shift = ZERO && used ? ap_uint<FIELD>(field - 1) : field;
        const SHIFTED whole = SHIFTED(x) << shift;
        const ACC magnitude = used ? ACC(whole) : ACC(0);
        return code[FIELD] ? ACC(-magnitude) : magnitude;
    }
};

// Weights of one of the codes above, no multiplier.
template <class CODE, class HELD, int TERMS, int PER_WORD, int PARALLEL>
struct added : hold_elements<HELD> {
    static const int words = (TERMS + PER_WORD - 1) / PER_WORD;

    template <class ACC, class ROM>
    static ACC step(const HELD (&x)[TERMS], const ROM (&packed)[words], int first, bool = false) {
#pragma HLS INLINE
        ACC sum = 0;
    added_words:
        for (int part = 0; part < PARALLEL; ++part) {
#pragma HLS UNROLL
            if (first + part < words) {
                const ap_uint<PER_WORD * CODE::bits> word = packed[first + part];
            added_lanes:
                for (int lane = 0; lane < PER_WORD; ++lane) {
#pragma HLS UNROLL
                    const int k = (first + part) * PER_WORD + lane;
                    const ap_uint<CODE::bits> code = word >> (lane * CODE::bits);
                    if (k < TERMS) sum += CODE::template product<ACC>(x[k], code);
                }
            }
        }
        return sum;
    }
};

// How many bits of a word (at most 32) are 1.
template <int BITS>
ap_uint<6> ones(const ap_uint<BITS> &word) {
#pragma HLS INLINE
    ap_uint<6> count = 0;
ones_bits:
    for (int bit = 0; bit < BITS; ++bit) {
#pragma HLS UNROLL
        count += word[bit];
    }
    return count;
}

// Inputs of +a and -a, weights of +1 (bit 1) and -1 (bit 0); a is a factor of weight_scale. A sum of products is the
// number of positions inside the image minus twice the number of bits that differ: xnor, count. OUTSIDE: whether
// positions can lie outside the image. held_t: bit 0 is 1 for +a, bit 1 (if OUTSIDE) is 1 inside.
template <bool OUTSIDE, int TERMS, int PER_WORD, int PARALLEL>
struct xnor_counted {
    typedef ap_uint<OUTSIDE ? 2 : 1> held_t;
    static const bool counts = OUTSIDE;
    static const int words = (TERMS + PER_WORD - 1) / PER_WORD;

    template <class X>
    static held_t hold(const X &x) {
#pragma HLS INLINE
        const ap_uint<2> code = x > 0 ? 3 : 2;
        return code;
    }

    static bool inside(const held_t &x) {
#pragma HLS INLINE
        return !OUTSIDE || (x >> 1) != 0;
    }

    template <class ACC>
    static ACC shared(const held_t &x) {
#pragma HLS INLINE
        return inside(x) ? 1 : 0;
    }

    template <class ACC, class ROM>
    static ACC step(const held_t (&x)[TERMS], const ROM (&packed)[words], int first, bool share = false) {
#pragma HLS INLINE
        ACC sum = 0;
    xnor_words:
        for (int part = 0; part < PARALLEL; ++part) {
#pragma HLS UNROLL
            if (first + part < words) {
                const ap_uint<PER_WORD> word = packed[first + part];
                ap_uint<PER_WORD> signs = 0, used = 0;
            xnor_lanes:  // wiring only
                for (int lane = 0; lane < PER_WORD; ++lane) {
#pragma HLS UNROLL
                    const int k = (first + part) * PER_WORD + lane;
                    if (k < TERMS) {
                        signs[lane] = x[k][0];
                        used[lane] = inside(x[k]);
                    }
                }
                ap_uint<PER_WORD> different = signs ^ word;
                if (share) different = ~ap_uint<PER_WORD>(0);
                const ACC count = ones<PER_WORD>(different & used);
                sum -= OUTSIDE ? count : ACC(count << 1);
                if (!OUTSIDE) sum += ones<PER_WORD>(used);  // a constant, but for the last word
            }
        }
        return sum;
    }
};

// Inputs of few bits, weights of +1 (bit 1) and -1 (bit 0). A sum of products is twice the sum of the inputs with
// weight +1, minus the sum of all inputs (shared). The former is counted bit plane by bit plane: plane p is worth
// 2**p, or -2**p where it is the sign bit.
template <class HELD, int PLANES, bool SIGNED, int TERMS, int PER_WORD, int PARALLEL>
struct planes_counted {
    typedef HELD held_t;
    static const bool counts = true;
    static const int words = (TERMS + PER_WORD - 1) / PER_WORD;

    template <class X>
    static held_t hold(const X &x) {
#pragma HLS INLINE
        return x;
    }

    template <class ACC>
    static ACC shared(const held_t &x) {
#pragma HLS INLINE
        return -x;
    }

    template <class ACC, class ROM>
    static ACC step(const held_t (&x)[TERMS], const ROM (&packed)[words], int first, bool share = false) {
#pragma HLS INLINE
        ACC sum = 0;
    planes_words:
        for (int part = 0; part < PARALLEL; ++part) {
#pragma HLS UNROLL
            if (first + part < words) {
                ap_uint<PER_WORD> word = packed[first + part];
                if (share) word = ~ap_uint<PER_WORD>(0);
            planes_planes:
                for (int p = 0; p < PLANES; ++p) {
#pragma HLS UNROLL
                    ap_uint<PER_WORD> plane = 0;
                planes_lanes:  // wiring only
                    for (int lane = 0; lane < PER_WORD; ++lane) {
#pragma HLS UNROLL
                        const int k = (first + part) * PER_WORD + lane;
                        if (k < TERMS) plane[lane] = x[k][p];
                    }
                    const ACC worth = ACC(ones<PER_WORD>(plane & word)) << p;
                    if (SIGNED && p == PLANES - 1) sum -= worth;
                    else sum += worth;
                }
            }
        }
        return sum;
    }
};

}  // namespace qsim

#endif
