/* What becomes of an integer outside [low, high] (names as in Vitis, UG1399), for 32 and 64 bits.
 *
 * This file includes itself once for each width: QSIM_OF(qsim_sat) is qsim_sat_i32, then qsim_sat_i64.
 * Wrapping modes: [low, high] are the limits of a two's-complement or plain binary format of fewer bits than the
 * function has, so high - low + 1 is its number of codes, a power of two.
 */
#ifndef QSIM_WIDTH
#ifndef QSIM_OVERFLOW_H
#define QSIM_OVERFLOW_H

#include "qsim_common.h"

#define QSIM_WIDTH 32
#include "qsim_overflow.h"
#undef QSIM_WIDTH
#define QSIM_WIDTH 64
#include "qsim_overflow.h"
#undef QSIM_WIDTH

#endif
#else

/* Clip to the limits. */
static inline QSIM_INT QSIM_OF(qsim_sat)(QSIM_INT value, QSIM_INT low, QSIM_INT high)
{
    return value < low ? low : value > high ? high : value;
}

/* No value lies outside the limits (proven when the model was emitted). */
static inline QSIM_INT QSIM_OF(qsim_keep)(QSIM_INT value, QSIM_INT low, QSIM_INT high)
{
    (void)low;
    (void)high;
    return value;
}

/* Zero outside the limits. */
static inline QSIM_INT QSIM_OF(qsim_sat_zero)(QSIM_INT value, QSIM_INT low, QSIM_INT high)
{
    return value < low || value > high ? 0 : value;
}

/* Keep the low bits. */
static inline QSIM_INT QSIM_OF(qsim_wrap)(QSIM_INT value, QSIM_INT low, QSIM_INT high)
{
    const QSIM_UINT mask = (QSIM_UINT)high - (QSIM_UINT)low;
    const QSIM_UINT above_low = ((QSIM_UINT)value - (QSIM_UINT)low) & mask;

    return (QSIM_INT)above_low + low;
}

/* Sign-magnitude wrap: where the kept sign differs from the lowest dropped bit, the remaining bits are inverted. */
static inline QSIM_INT QSIM_OF(qsim_wrap_sm)(QSIM_INT value, QSIM_INT low, QSIM_INT high)
{
    const QSIM_UINT codes = (QSIM_UINT)high - (QSIM_UINT)low + 1u;
    const QSIM_INT kept = QSIM_OF(qsim_wrap)(value, low, high);
    const int dropped = ((QSIM_UINT)value & codes) != 0u;

    return low < 0 && dropped != (kept < 0) ? ~kept : kept;
}

#endif
