/* TensorFlow Lite's integer softmax over rows; the rule stands in qsim/reference/softmax.py, written on its own. */
#include "elementwise.h"

static inline int32_t high_mul(int32_t a, int32_t b) {
    const int64_t high = ((int64_t)a * b + ((int64_t)1 << 30)) >> 31;
    return high > INT32_MAX ? INT32_MAX : (int32_t)high;
}

/* round(x / 2^s), half away from zero; 0 <= s <= 62. */
static inline int64_t divide_pot(int64_t x, int s) {
    const int64_t mask = ((int64_t)1 << s) - 1, rest = x & mask;
    return (x >> s) + (rest > (mask >> 1) + (x < 0));
}

static inline int32_t saturated(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}

/* 1 / (1 + a) for a in [0, 1], Q0.31: three Newton-Raphson steps from 48/17 - 32/17 * half the denominator, in Q2.29. */
static int32_t one_over_one_plus(int64_t a) {
    const int32_t half_denominator = (int32_t)((a + INT32_MAX + 1) >> 1);
    int32_t x = 1515870810 + high_mul(half_denominator, -1010580540);
    for (int i = 0; i < 3; ++i) {
        const int32_t rest = (1 << 29) - high_mul(half_denominator, x);
        x += saturated((int64_t)high_mul(x, rest) * 4);
    }
    return saturated((int64_t)x * 2);
}

void qn_softmax(const void *params, const void *const *in, void *out, int64_t samples, void *scratch) {
    const qn_softmax_params *p = params;
    int64_t *x = scratch;
    for (int64_t row = 0; row < samples * p->rows; ++row) {
        int64_t greatest = INT64_MIN, total = 0;
        qn_load64(x, in[0], row * p->columns, p->columns, p->type_in);
        for (int32_t c = 0; c < p->columns; ++c) greatest = x[c] > greatest ? x[c] : greatest;
        for (int32_t c = 0; c < p->columns; ++c) {
            x[c] = greatest - x[c];
            if (x[c] < p->count) total += divide_pot(p->table[x[c]], 12);
        }
        int top = 0; /* the highest bit of the sum */
        while (top < 31 && total >> (top + 1)) ++top;
        const int headroom = 31 - top;
        const int32_t inverse = one_over_one_plus((int64_t)(((uint64_t)total << headroom) & 0xFFFFFFFFu) - ((int64_t)1 << 31));
        const int exponent = 12 - headroom + 31 - p->width;
        for (int32_t c = 0; c < p->columns; ++c) {
            int64_t y = p->low;
            if (x[c] < p->count) {
                y += divide_pot(high_mul(p->table[x[c]], inverse), exponent);
                y = y > p->high ? p->high : y;
            }
            x[c] = y;
        }
        qn_store64(out, row * p->columns, x, p->columns, p->type_out);
    }
}
