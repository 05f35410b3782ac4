/* Fixed-point functions of TensorFlow Lite's integer softmax. A number in Qi.f has i integer and f = 31 - i fractional bits
 * in an int32_t.
 */
#ifndef QSIM_FIXED_POINT_H
#define QSIM_FIXED_POINT_H

#include "qsim_tflite.h"

/* x * 2^exponent, saturated. */
static inline int32_t qsim_saturating_scale(int32_t x, int32_t exponent)
{
    const int64_t wide = (int64_t)x * (INT64_C(1) << exponent);

    return wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}

/* round(x * 2^-exponent), ties away from zero; 0 <= exponent <= 63. */
static inline int32_t qsim_round_scale(int32_t x, int32_t exponent)
{
    return (int32_t)qsim_shift_rnd_inf_i64(x, exponent);
}

/* exp(a) in Q0.31 for -1/4 <= a < 0 in Q0.31: a polynomial of degree four around -1/8. */
static inline int32_t qsim_exp_quarter(int32_t a)
{
    const int32_t exp_minus_eighth = 1895147668;
    const int32_t one_third = 715827883;
    const int32_t x = a + (INT32_C(1) << 28);
    const int32_t x2 = qsim_doubling_high_mul(x, x);
    const int32_t x3 = qsim_doubling_high_mul(x2, x);
    const int32_t x4 = qsim_doubling_high_mul(x2, x2);
    const int32_t cubic = qsim_doubling_high_mul(qsim_round_scale(x4, 2) + x3, one_third);
    const int32_t series = x + qsim_round_scale(cubic + x2, 1);

    return exp_minus_eighth + qsim_doubling_high_mul(exp_minus_eighth, series);
}

/* exp(a) in Q0.31 for a <= 0 in Q5.26: the fraction below a quarter by polynomial, the rest by one factor per bit. */
static inline int32_t qsim_exp_negative(int32_t a)
{
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t quarter = INT32_C(1) << 24;
    const int32_t modulo = (a & (quarter - 1)) - quarter;
    const int32_t rest = modulo - a;
    int32_t result = qsim_exp_quarter(modulo * 32);

    if (a == 0) {
        return INT32_MAX;
    }
    for (int32_t bit = 0; bit < 7; ++bit) {
        if ((rest & (INT32_C(1) << (24 + bit))) != 0) {
            result = qsim_doubling_high_mul(result, factors[bit]);
        }
    }
    return result;
}

/* 1 / (1 + a) in Q0.31 for 0 <= a < 1 in Q0.31: three Newton-Raphson steps on half of 1 + a, in Q2.29. */
static inline int32_t qsim_reciprocal(int32_t a)
{
    const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
    int32_t x = 1515870810 + qsim_doubling_high_mul(half, -1010580540);

    for (int32_t step = 0; step < 3; ++step) {
        const int32_t error = (INT32_C(1) << 29) - qsim_doubling_high_mul(half, x);

        x += qsim_saturating_scale(qsim_doubling_high_mul(x, error), 2);
    }
    return qsim_saturating_scale(x, 1);
}

#endif
