/* What becomes of an integer outside [low, high] (names as in Vitis, UG1399), for 32 and 64 bits.
 *
 * Wrapping modes: [low, high] are the limits of a two's-complement or plain binary format of fewer bits than the
 * function has, so high - low + 1 is its number of codes, a power of two.
 */
#ifndef QSIM_OVERFLOW_H
#define QSIM_OVERFLOW_H

#include "qsim_common.h"

/* Clip to the limits. */
static inline int32_t qsim_sat_i32(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* No value lies outside the limits (proven when the model was emitted). */
static inline int32_t qsim_keep_i32(int32_t value, int32_t low, int32_t high)
{
    (void)low;
    (void)high;
    return value;
}

/* Zero outside the limits. */
static inline int32_t qsim_sat_zero_i32(int32_t value, int32_t low, int32_t high)
{
    return value < low || value > high ? 0 : value;
}

/* Keep the low bits. */
static inline int32_t qsim_wrap_i32(int32_t value, int32_t low, int32_t high)
{
    const uint32_t mask = (uint32_t)high - (uint32_t)low;
    const uint32_t above_low = ((uint32_t)value - (uint32_t)low) & mask;

    return (int32_t)above_low + low;
}

/* Sign-magnitude wrap: where the kept sign differs from the lowest dropped bit, the remaining bits are inverted. */
static inline int32_t qsim_wrap_sm_i32(int32_t value, int32_t low, int32_t high)
{
    const uint32_t codes = (uint32_t)high - (uint32_t)low + 1u;
    const int32_t kept = qsim_wrap_i32(value, low, high);
    const int dropped = ((uint32_t)value & codes) != 0u;

    return low < 0 && dropped != (kept < 0) ? ~kept : kept;
}

/* Clip to the limits. */
static inline int64_t qsim_sat_i64(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* No value lies outside the limits (proven when the model was emitted). */
static inline int64_t qsim_keep_i64(int64_t value, int64_t low, int64_t high)
{
    (void)low;
    (void)high;
    return value;
}

/* Zero outside the limits. */
static inline int64_t qsim_sat_zero_i64(int64_t value, int64_t low, int64_t high)
{
    return value < low || value > high ? 0 : value;
}

/* Keep the low bits. */
static inline int64_t qsim_wrap_i64(int64_t value, int64_t low, int64_t high)
{
    const uint64_t mask = (uint64_t)high - (uint64_t)low;
    const uint64_t above_low = ((uint64_t)value - (uint64_t)low) & mask;

    return (int64_t)above_low + low;
}

/* Sign-magnitude wrap: where the kept sign differs from the lowest dropped bit, the remaining bits are inverted. */
static inline int64_t qsim_wrap_sm_i64(int64_t value, int64_t low, int64_t high)
{
    const uint64_t codes = (uint64_t)high - (uint64_t)low + 1u;
    const int64_t kept = qsim_wrap_i64(value, low, high);
    const int dropped = ((uint64_t)value & codes) != 0u;

    return low < 0 && dropped != (kept < 0) ? ~kept : kept;
}

#endif
