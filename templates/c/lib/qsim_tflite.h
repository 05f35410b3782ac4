/* The rescaling schemes of TensorFlow Lite's integer kernels: a Q31 multiplier and a power of two.
 *
 * shift is a right shift; negative values shift left. Preconditions: double and upward rounding: value shifted left
 * fits 64 bits (its low 32 bits are taken, as the reference does); single rounding: |value * multiplier| < 2^62.
 */
#ifndef QSIM_TFLITE_H
#define QSIM_TFLITE_H

#include "qsim_round.h"

typedef struct {
    const int32_t *multiplier;
    const int8_t *shift;
} qsim_tflite;

/* The low 32 bits as a signed number. */
static inline int32_t qsim_low_i32(uint64_t bits)
{
    const uint32_t low = (uint32_t)(bits & UINT32_C(0xffffffff));

    return low <= UINT32_C(0x7fffffff) ? (int32_t)low : -(int32_t)(UINT32_C(0xffffffff) - low) - 1;
}

/* (2 * a * b) / 2^32 rounded to nearest: the nudged product divided by 2^31, truncated; INT32_MIN squared saturates. */
static inline int32_t qsim_doubling_high_mul(int32_t a, int32_t b)
{
    const int64_t product = (int64_t)a * b;
    const int64_t nudge = product >= 0 ? INT64_C(1) << 30 : 1 - (INT64_C(1) << 30);
    const int64_t high = (product + nudge) / (INT64_C(1) << 31);

    return high > INT32_MAX ? INT32_MAX : (int32_t)high;
}

static inline int32_t qsim_tflite_high(int64_t value, int32_t multiplier, int32_t shift)
{
    const uint64_t shifted = shift < 0 ? (uint64_t)value << -shift : (uint64_t)value;

    return qsim_doubling_high_mul(qsim_low_i32(shifted), multiplier);
}

/* Two roundings, the second to nearest with ties away from zero: the reference kernels and TFLite Micro. */
static inline int64_t qsim_tflite_double(int64_t value, const qsim_tflite *rescale, int32_t c)
{
    const int32_t shift = rescale->shift[c];

    return qsim_shift_rnd_inf_i64(qsim_tflite_high(value, rescale->multiplier[c], shift), shift > 0 ? shift : 0);
}

/* Two roundings, the second to nearest with ties up: the optimised kernels. */
static inline int64_t qsim_tflite_upward(int64_t value, const qsim_tflite *rescale, int32_t c)
{
    const int32_t shift = rescale->shift[c];

    return qsim_shift_rnd_i64(qsim_tflite_high(value, rescale->multiplier[c], shift), shift > 0 ? shift : 0);
}

/* One rounding, to nearest with ties up. Precondition: shift >= -31. */
static inline int64_t qsim_tflite_single(int64_t value, const qsim_tflite *rescale, int32_t c)
{
    return qsim_shift_rnd_i64(value * rescale->multiplier[c], qsim_min_i32(31 + rescale->shift[c], 63));
}

#endif
