/* round(value / divisor) in the seven rounding modes (names as in Vitis, UG1399), for 32 and 64 bits.
 *
 * Preconditions: divisor > 0. No step overflows for any value. ``rest`` is the remainder of the division rounded down,
 * 0 <= rest < divisor, and is compared with divisor - rest, the distance to the next integer.
 */
#ifndef QSIM_DIVIDE_ROUND_H
#define QSIM_DIVIDE_ROUND_H

#include "qsim_common.h"

/* The quotient rounded down. */
static inline int32_t qsim_floor_divide_i32(int32_t value, int32_t divisor)
{
    return value / divisor - (value % divisor < 0);
}

/* toward minus infinity */
static inline int32_t qsim_divide_trn_i32(int32_t value, int32_t divisor)
{
    return qsim_floor_divide_i32(value, divisor);
}

/* toward zero */
static inline int32_t qsim_divide_trn_zero_i32(int32_t value, int32_t divisor)
{
    const int32_t quotient = qsim_floor_divide_i32(value, divisor);
    const int32_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > 0 && value < 0);
}

/* nearest, ties up */
static inline int32_t qsim_divide_rnd_i32(int32_t value, int32_t divisor)
{
    const int32_t quotient = qsim_floor_divide_i32(value, divisor);
    const int32_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest >= divisor - rest);
}

/* nearest, ties toward zero */
static inline int32_t qsim_divide_rnd_zero_i32(int32_t value, int32_t divisor)
{
    const int32_t quotient = qsim_floor_divide_i32(value, divisor);
    const int32_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > divisor - rest || (rest == divisor - rest && value < 0));
}

/* nearest, ties down */
static inline int32_t qsim_divide_rnd_min_inf_i32(int32_t value, int32_t divisor)
{
    const int32_t quotient = qsim_floor_divide_i32(value, divisor);
    const int32_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > divisor - rest);
}

/* nearest, ties away from zero */
static inline int32_t qsim_divide_rnd_inf_i32(int32_t value, int32_t divisor)
{
    const int32_t quotient = qsim_floor_divide_i32(value, divisor);
    const int32_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > divisor - rest || (rest == divisor - rest && value >= 0));
}

/* nearest, ties to even */
static inline int32_t qsim_divide_rnd_conv_i32(int32_t value, int32_t divisor)
{
    const int32_t quotient = qsim_floor_divide_i32(value, divisor);
    const int32_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > divisor - rest || (rest == divisor - rest && (quotient & 1) != 0));
}

/* The quotient rounded down. */
static inline int64_t qsim_floor_divide_i64(int64_t value, int64_t divisor)
{
    return value / divisor - (value % divisor < 0);
}

/* toward minus infinity */
static inline int64_t qsim_divide_trn_i64(int64_t value, int64_t divisor)
{
    return qsim_floor_divide_i64(value, divisor);
}

/* toward zero */
static inline int64_t qsim_divide_trn_zero_i64(int64_t value, int64_t divisor)
{
    const int64_t quotient = qsim_floor_divide_i64(value, divisor);
    const int64_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > 0 && value < 0);
}

/* nearest, ties up */
static inline int64_t qsim_divide_rnd_i64(int64_t value, int64_t divisor)
{
    const int64_t quotient = qsim_floor_divide_i64(value, divisor);
    const int64_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest >= divisor - rest);
}

/* nearest, ties toward zero */
static inline int64_t qsim_divide_rnd_zero_i64(int64_t value, int64_t divisor)
{
    const int64_t quotient = qsim_floor_divide_i64(value, divisor);
    const int64_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > divisor - rest || (rest == divisor - rest && value < 0));
}

/* nearest, ties down */
static inline int64_t qsim_divide_rnd_min_inf_i64(int64_t value, int64_t divisor)
{
    const int64_t quotient = qsim_floor_divide_i64(value, divisor);
    const int64_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > divisor - rest);
}

/* nearest, ties away from zero */
static inline int64_t qsim_divide_rnd_inf_i64(int64_t value, int64_t divisor)
{
    const int64_t quotient = qsim_floor_divide_i64(value, divisor);
    const int64_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > divisor - rest || (rest == divisor - rest && value >= 0));
}

/* nearest, ties to even */
static inline int64_t qsim_divide_rnd_conv_i64(int64_t value, int64_t divisor)
{
    const int64_t quotient = qsim_floor_divide_i64(value, divisor);
    const int64_t rest = (value % divisor < 0) ? value % divisor + divisor : value % divisor;

    return quotient + (rest > divisor - rest || (rest == divisor - rest && (quotient & 1) != 0));
}

#endif
