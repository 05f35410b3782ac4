/* The rescaling of float32 kernels (XNNPACK) in integers: float32(value) times the float32 multiplier * 2^-shift, rounded
 * to float32, then to the nearest integer, ties to even. Every rounding is written out; no float is involved.
 *
 * Preconditions: |multiplier| <= 2^24, |value| < 2^62, |result| < 2^62. float32's exponent range is not left.
 */
#ifndef QSIM_FLOAT32_H
#define QSIM_FLOAT32_H

#include "qsim_round.h"

typedef struct {
    const int32_t *multiplier;
    const int16_t *shift;
} qsim_float32;

/* The number of bits that exceed float32's 24 significant ones. */
static inline int32_t qsim_excess_bits(int64_t value)
{
    uint64_t rest = (value < 0 ? 0u - (uint64_t)value : (uint64_t)value) >> 24;
    int32_t bits = 0;

    while (rest != 0u) {
        rest >>= 1;
        ++bits;
    }
    return bits;
}

static inline int64_t qsim_float32_scale(int64_t value, const qsim_float32 *rescale, int32_t c)
{
    const int32_t value_bits = qsim_excess_bits(value);
    const int64_t significand = qsim_shift_rnd_conv_i64(value, value_bits);
    const int64_t product = significand * rescale->multiplier[c];
    const int32_t product_bits = qsim_excess_bits(product);
    const int64_t rounded = qsim_shift_rnd_conv_i64(product, product_bits);
    const int32_t shift = rescale->shift[c] - value_bits - product_bits;

    return shift < 0 ? rounded * (INT64_C(1) << -shift) : qsim_shift_rnd_conv_i64(rounded, qsim_min_i32(shift, 63));
}

#endif
