/* round(value * 2^-shift) in the seven rounding modes (names as in Vitis, UG1399), for 32 and 64 bits.
 *
 * This file includes itself once for each width: QSIM_OF(qsim_shift_rnd) is qsim_shift_rnd_i32, then qsim_shift_rnd_i64.
 * Preconditions, for N bits: |value| < 2^(N - 2) and 0 <= shift <= N - 1. Then no step below overflows. Each mode is one
 * addition before an arithmetic right shift, which rounds down.
 */
#ifndef QSIM_WIDTH
#ifndef QSIM_ROUND_H
#define QSIM_ROUND_H

#include "qsim_common.h"

#define QSIM_WIDTH 32
#include "qsim_round.h"
#undef QSIM_WIDTH
#define QSIM_WIDTH 64
#include "qsim_round.h"
#undef QSIM_WIDTH

#endif
#else

/* Half of 2^shift, for shift >= 1. */
static inline QSIM_INT QSIM_OF(qsim_half)(int32_t shift)
{
    return (QSIM_INT)((QSIM_UINT)1u << (shift - 1));
}

/* toward minus infinity */
static inline QSIM_INT QSIM_OF(qsim_shift_trn)(QSIM_INT value, int32_t shift)
{
    return value >> shift;
}

/* toward zero */
static inline QSIM_INT QSIM_OF(qsim_shift_trn_zero)(QSIM_INT value, int32_t shift)
{
    return (value < 0 ? value + (QSIM_INT)(((QSIM_UINT)1u << shift) - 1u) : value) >> shift;
}

/* nearest, ties up */
static inline QSIM_INT QSIM_OF(qsim_shift_rnd)(QSIM_INT value, int32_t shift)
{
    return shift == 0 ? value : (value + QSIM_OF(qsim_half)(shift)) >> shift;
}

/* nearest, ties toward zero */
static inline QSIM_INT QSIM_OF(qsim_shift_rnd_zero)(QSIM_INT value, int32_t shift)
{
    return shift == 0 ? value : (value + QSIM_OF(qsim_half)(shift) - (value >= 0)) >> shift;
}

/* nearest, ties down */
static inline QSIM_INT QSIM_OF(qsim_shift_rnd_min_inf)(QSIM_INT value, int32_t shift)
{
    return shift == 0 ? value : (value + QSIM_OF(qsim_half)(shift) - 1) >> shift;
}

/* nearest, ties away from zero */
static inline QSIM_INT QSIM_OF(qsim_shift_rnd_inf)(QSIM_INT value, int32_t shift)
{
    return shift == 0 ? value : (value + QSIM_OF(qsim_half)(shift) - (value < 0)) >> shift;
}

/* nearest, ties to even */
static inline QSIM_INT QSIM_OF(qsim_shift_rnd_conv)(QSIM_INT value, int32_t shift)
{
    return shift == 0 ? value : (value + QSIM_OF(qsim_half)(shift) - 1 + ((value >> shift) & 1)) >> shift;
}

#endif
