/* round(value * 2^-shift) in the seven rounding modes (names as in Vitis, UG1399), for 32 and 64 bits.
 *
 * Preconditions: 32 bits: |value| < 2^30 and 0 <= shift <= 31; 64 bits: |value| < 2^62 and 0 <= shift <= 63.
 * Then no step below overflows. Each mode is one addition before an arithmetic right shift, which rounds down.
 */
#ifndef QSIM_ROUND_H
#define QSIM_ROUND_H

#include "qsim_common.h"

/* Half of 2^shift, for shift >= 1. */
static inline int32_t qsim_half_i32(int32_t shift)
{
    return (int32_t)(UINT32_C(1) << (shift - 1));
}

/* toward minus infinity */
static inline int32_t qsim_shift_trn_i32(int32_t value, int32_t shift)
{
    return value >> shift;
}

/* toward zero */
static inline int32_t qsim_shift_trn_zero_i32(int32_t value, int32_t shift)
{
    return (value < 0 ? value + (int32_t)((UINT32_C(1) << shift) - 1u) : value) >> shift;
}

/* nearest, ties up */
static inline int32_t qsim_shift_rnd_i32(int32_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i32(shift)) >> shift;
}

/* nearest, ties toward zero */
static inline int32_t qsim_shift_rnd_zero_i32(int32_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i32(shift) - (value >= 0)) >> shift;
}

/* nearest, ties down */
static inline int32_t qsim_shift_rnd_min_inf_i32(int32_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i32(shift) - 1) >> shift;
}

/* nearest, ties away from zero */
static inline int32_t qsim_shift_rnd_inf_i32(int32_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i32(shift) - (value < 0)) >> shift;
}

/* nearest, ties to even */
static inline int32_t qsim_shift_rnd_conv_i32(int32_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i32(shift) - 1 + ((value >> shift) & 1)) >> shift;
}

/* Half of 2^shift, for shift >= 1. */
static inline int64_t qsim_half_i64(int32_t shift)
{
    return (int64_t)(UINT64_C(1) << (shift - 1));
}

/* toward minus infinity */
static inline int64_t qsim_shift_trn_i64(int64_t value, int32_t shift)
{
    return value >> shift;
}

/* toward zero */
static inline int64_t qsim_shift_trn_zero_i64(int64_t value, int32_t shift)
{
    return (value < 0 ? value + (int64_t)((UINT64_C(1) << shift) - 1u) : value) >> shift;
}

/* nearest, ties up */
static inline int64_t qsim_shift_rnd_i64(int64_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i64(shift)) >> shift;
}

/* nearest, ties toward zero */
static inline int64_t qsim_shift_rnd_zero_i64(int64_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i64(shift) - (value >= 0)) >> shift;
}

/* nearest, ties down */
static inline int64_t qsim_shift_rnd_min_inf_i64(int64_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i64(shift) - 1) >> shift;
}

/* nearest, ties away from zero */
static inline int64_t qsim_shift_rnd_inf_i64(int64_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i64(shift) - (value < 0)) >> shift;
}

/* nearest, ties to even */
static inline int64_t qsim_shift_rnd_conv_i64(int64_t value, int32_t shift)
{
    return shift == 0 ? value : (value + qsim_half_i64(shift) - 1 + ((value >> shift) & 1)) >> shift;
}

#endif
