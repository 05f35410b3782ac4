/* round(value / divisor) in the seven rounding modes (names as in Vitis, UG1399), for 32 and 64 bits.
 *
 * This file includes itself once for each width: QSIM_OF(qsim_divide_rnd) is qsim_divide_rnd_i32, then qsim_divide_rnd_i64.
 * Preconditions: divisor > 0. No step overflows for any value. ``rest`` is the remainder of the division rounded down,
 * 0 <= rest < divisor, and is compared with divisor - rest, the distance to the next integer.
 */
#ifndef QSIM_WIDTH
#ifndef QSIM_DIVIDE_ROUND_H
#define QSIM_DIVIDE_ROUND_H

#include "qsim_common.h"

#define QSIM_WIDTH 32
#include "qsim_divide_round.h"
#undef QSIM_WIDTH
#define QSIM_WIDTH 64
#include "qsim_divide_round.h"
#undef QSIM_WIDTH

#endif
#else

/* The quotient rounded down. */
static inline QSIM_INT QSIM_OF(qsim_floor_divide)(QSIM_INT value, QSIM_INT divisor)
{
    return value / divisor - (value % divisor < 0);
}

/* What value exceeds divisor times that quotient by. */
static inline QSIM_INT QSIM_OF(qsim_floor_rest)(QSIM_INT value, QSIM_INT divisor)
{
    return value % divisor < 0 ? value % divisor + divisor : value % divisor;
}

/* toward minus infinity */
static inline QSIM_INT QSIM_OF(qsim_divide_trn)(QSIM_INT value, QSIM_INT divisor)
{
    return QSIM_OF(qsim_floor_divide)(value, divisor);
}

/* toward zero */
static inline QSIM_INT QSIM_OF(qsim_divide_trn_zero)(QSIM_INT value, QSIM_INT divisor)
{
    const QSIM_INT quotient = QSIM_OF(qsim_floor_divide)(value, divisor);
    const QSIM_INT rest = QSIM_OF(qsim_floor_rest)(value, divisor);

    return quotient + (rest > 0 && value < 0);
}

/* nearest, ties up */
static inline QSIM_INT QSIM_OF(qsim_divide_rnd)(QSIM_INT value, QSIM_INT divisor)
{
    const QSIM_INT quotient = QSIM_OF(qsim_floor_divide)(value, divisor);
    const QSIM_INT rest = QSIM_OF(qsim_floor_rest)(value, divisor);

    return quotient + (rest >= divisor - rest);
}

/* nearest, ties toward zero */
static inline QSIM_INT QSIM_OF(qsim_divide_rnd_zero)(QSIM_INT value, QSIM_INT divisor)
{
    const QSIM_INT quotient = QSIM_OF(qsim_floor_divide)(value, divisor);
    const QSIM_INT rest = QSIM_OF(qsim_floor_rest)(value, divisor);

    return quotient + (rest > divisor - rest || (rest == divisor - rest && value < 0));
}

/* nearest, ties down */
static inline QSIM_INT QSIM_OF(qsim_divide_rnd_min_inf)(QSIM_INT value, QSIM_INT divisor)
{
    const QSIM_INT quotient = QSIM_OF(qsim_floor_divide)(value, divisor);
    const QSIM_INT rest = QSIM_OF(qsim_floor_rest)(value, divisor);

    return quotient + (rest > divisor - rest);
}

/* nearest, ties away from zero */
static inline QSIM_INT QSIM_OF(qsim_divide_rnd_inf)(QSIM_INT value, QSIM_INT divisor)
{
    const QSIM_INT quotient = QSIM_OF(qsim_floor_divide)(value, divisor);
    const QSIM_INT rest = QSIM_OF(qsim_floor_rest)(value, divisor);

    return quotient + (rest > divisor - rest || (rest == divisor - rest && value >= 0));
}

/* nearest, ties to even */
static inline QSIM_INT QSIM_OF(qsim_divide_rnd_conv)(QSIM_INT value, QSIM_INT divisor)
{
    const QSIM_INT quotient = QSIM_OF(qsim_floor_divide)(value, divisor);
    const QSIM_INT rest = QSIM_OF(qsim_floor_rest)(value, divisor);

    return quotient + (rest > divisor - rest || (rest == divisor - rest && (quotient & 1) != 0));
}

#endif
