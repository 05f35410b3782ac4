/* Elementwise operations on lanes, in place: requantize, divide, threshold, lookup. */
#include "qsim_native.h"

#include <math.h>
#include "vectors.h"

#define T int32_t
#define U uint32_t
#define NAME(x) x##32
#include "round.h"
#undef T
#undef U
#undef NAME
#define T int64_t
#define U uint64_t
#define NAME(x) x##64
#include "round.h"
#undef T
#undef U
#undef NAME

/* --- 32-bit lanes: the planner chose them because every product and sum of the scheme fits 32 bits, but for the schemes
 * that take a 64-bit product by definition. ``m``, ``a``, ``s`` start at the first lane's own parameters. */

static void plain32(const qn_rescale *r, int32_t *x, int64_t count, int64_t at) {
    const int32_t *m = r->m32 + at, *a = r->a32 + at, *s = r->s + at;
    if (r->unit) {
        BY_ROUNDING(r->rounding, for (int64_t i = 0; i < count; ++i) x[i] = shift_round32(x[i], s[i], R);)
    } else {
        BY_ROUNDING(r->rounding, for (int64_t i = 0; i < count; ++i) x[i] = shift_round32(x[i] * m[i] + a[i], s[i], R);)
    }
}

/* RDBPOT of TFLite (half away), or half up, of an int32; s >= 0. */
static inline int32_t divide_pot(int32_t x, int32_t s, int upward) {
    const int32_t mask = (int32_t)(((uint32_t)1 << s) - 1);
    const int32_t rest = x & mask;
    const int32_t half = (mask >> 1) + (upward ? 0 : x < 0);
    /* half up: rest >= 2^(s-1), that is rest > (mask >> 1), for s > 0; the same test serves half away */
    return (x >> s) + (rest > half);
}

static inline int32_t high_mul(int32_t x, int32_t m) {
    const int64_t high = ((int64_t)x * m + ((int64_t)1 << 30)) >> 31;
    return high > INT32_MAX ? INT32_MAX : (int32_t)high;
}

static void tflite32(const qn_rescale *r, int32_t *x, int64_t count, int64_t at) {
    const int32_t *m = r->m32 + at, *s = r->s + at;
    const int upward = r->scheme == QN_TFLITE_UPWARD;
    int64_t i = 0;
#ifdef QN_AVX2
    const __m256i nudge = _mm256_set1_epi64x((int64_t)1 << 30), zero = _mm256_setzero_si256();
    const __m256i one = _mm256_set1_epi32(1), top = _mm256_set1_epi32(INT32_MIN);
    for (; i + 8 <= count; i += 8) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(x + i));
        const __m256i vm = _mm256_loadu_si256((const __m256i *)(m + i));
        const __m256i vs = _mm256_loadu_si256((const __m256i *)(s + i));
        if (r->left) v = _mm256_sllv_epi32(v, _mm256_max_epi32(_mm256_sub_epi32(zero, vs), zero));
        const __m256i right = _mm256_max_epi32(vs, zero);
        __m256i even = _mm256_add_epi64(_mm256_mul_epi32(v, vm), nudge);
        __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(v, 32), _mm256_srli_epi64(vm, 32)), nudge);
        even = _mm256_srli_epi64(even, 31); /* its low half is bits 31 to 62 */
        odd = _mm256_add_epi64(odd, odd);   /* its high half is bits 31 to 62 */
        __m256i high = _mm256_blend_epi32(even, odd, 0xAA);
        /* INT_MIN squared, the one product that saturates, gave INT_MIN: the only way to that value is it */
        const __m256i both = _mm256_and_si256(_mm256_cmpeq_epi32(v, top), _mm256_cmpeq_epi32(vm, top));
        high = _mm256_add_epi32(high, both);
        const __m256i mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, right), one);
        const __m256i rest = _mm256_and_si256(high, mask);
        __m256i half = _mm256_srli_epi32(mask, 1);
        if (!upward) half = _mm256_sub_epi32(half, _mm256_cmpgt_epi32(zero, high));
        const __m256i carry = _mm256_cmpgt_epi32(rest, half);
        _mm256_storeu_si256((__m256i *)(x + i), _mm256_sub_epi32(_mm256_srav_epi32(high, right), carry));
    }
#endif
    for (; i < count; ++i) {
        const int32_t left = s[i] < 0 ? -s[i] : 0, right = s[i] > 0 ? s[i] : 0;
        x[i] = divide_pot(high_mul((int32_t)(uint32_t)((uint64_t)x[i] << left), m[i]), right, upward);
    }
}

static void single32(const qn_rescale *r, int32_t *x, int64_t count, int64_t at) {
    const int64_t *m = r->m + at;
    const int32_t *s = r->s + at;
    for (int64_t i = 0; i < count; ++i) x[i] = (int32_t)((x[i] * m[i] + ((int64_t)1 << (30 + s[i]))) >> (31 + s[i]));
}

static void float32(const qn_rescale *r, int32_t *x, int64_t count, int64_t at) {
    const float *f = r->f + at;
    for (int64_t i = 0; i < count; ++i) {
        /* Beyond 2^30 the planner has proven nothing but that the result is clipped, to limits far below. */
        float y = (float)x[i] * f[i];
        y = y < -1073741824.0f ? -1073741824.0f : y;
        y = y > 1073741824.0f ? 1073741824.0f : y;
        x[i] = (int32_t)rintf(y);
    }
}

static void rescale32(const qn_rescale *r, int32_t *x, int64_t count, int64_t at) {
    switch (r->scheme) {
        case QN_PLAIN: plain32(r, x, count, at); break;
        case QN_TFLITE_SINGLE: single32(r, x, count, at); break;
        case QN_FLOAT32: float32(r, x, count, at); break;
        default: tflite32(r, x, count, at); break;
    }
}

static void requantize32(const qn_transform *t, int32_t *x, int64_t count, int64_t at) {
    const int32_t zero = (int32_t)t->input_zero;
    if (zero) for (int64_t i = 0; i < count; ++i) x[i] -= zero;
    if (t->has_negative) {
        int32_t below[QN_LANES];
        int32_t chosen[QN_LANES];
        for (int64_t i = 0; i < count; ++i) {
            below[i] = x[i];
            chosen[i] = x[i] < 0;
        }
        rescale32(&t->negative, below, count, at);
        rescale32(&t->positive, x, count, at);
        for (int64_t i = 0; i < count; ++i) x[i] = chosen[i] ? below[i] : x[i];
    } else {
        rescale32(&t->positive, x, count, at);
    }
    overflow32(t, x, count);
}

/* --- 64-bit lanes: everything that the graph's own proof of 62 bits allows */

static void rescale64(const qn_rescale *r, int64_t *x, int64_t count, int64_t at) {
    const int64_t *m = r->m + at, *a = r->a + at;
    const int32_t *s = r->s + at;
    switch (r->scheme) {
        case QN_PLAIN:
            if (r->unit) {
                BY_ROUNDING(r->rounding, for (int64_t i = 0; i < count; ++i) x[i] = shift_round64(x[i], s[i], R);)
            } else {
                BY_ROUNDING(r->rounding,
                            for (int64_t i = 0; i < count; ++i) x[i] = shift_round64(x[i] * m[i] + a[i], s[i], R);)
            }
            break;
        case QN_TFLITE_SINGLE:
            for (int64_t i = 0; i < count; ++i) x[i] = (x[i] * m[i] + ((int64_t)1 << (30 + s[i]))) >> (31 + s[i]);
            break;
        case QN_FLOAT32:
            for (int64_t i = 0; i < count; ++i) {
                float y = (float)x[i] * r->f[at + i];
                y = y < -4611686018427387904.0f ? -4611686018427387904.0f : y;
                y = y > 4611686018427387904.0f ? 4611686018427387904.0f : y;
                x[i] = (int64_t)rintf(y);
            }
            break;
        default:
            for (int64_t i = 0; i < count; ++i) {
                const int32_t left = s[i] < 0 ? -s[i] : 0, right = s[i] > 0 ? s[i] : 0;
                const int32_t v = (int32_t)(uint32_t)((uint64_t)x[i] << left); /* TFLite's int32 arithmetic */
                x[i] = divide_pot(high_mul(v, (int32_t)m[i]), right, r->scheme == QN_TFLITE_UPWARD);
            }
            break;
    }
}

static void requantize64(const qn_transform *t, int64_t *x, int64_t count, int64_t at) {
    const int64_t zero = t->input_zero;
    if (zero) for (int64_t i = 0; i < count; ++i) x[i] -= zero;
    if (t->has_negative) {
        int64_t below[QN_LANES];
        uint8_t chosen[QN_LANES];
        for (int64_t i = 0; i < count; ++i) {
            below[i] = x[i];
            chosen[i] = x[i] < 0;
        }
        rescale64(&t->negative, below, count, at);
        rescale64(&t->positive, x, count, at);
        for (int64_t i = 0; i < count; ++i) x[i] = chosen[i] ? below[i] : x[i];
    } else {
        rescale64(&t->positive, x, count, at);
    }
    overflow64(t, x, count);
}

/* round(x / d), d > 0, as qsim/numerics/rounding.py's divide_rounded. */
static inline int64_t divide_round(int64_t x, int64_t d, int mode) {
    int64_t q = x / d, rest = x % d;
    if (rest < 0) {
        rest += d;
        q -= 1;
    }
    const int64_t twice = 2 * rest;
    const int negative = x < 0;
    int up;
    switch (mode) {
        case QN_TRN: up = 0; break;
        case QN_TRN_ZERO: up = negative & (twice != 0); break;
        case QN_RND: up = twice >= d; break;
        case QN_RND_ZERO: up = (twice > d) | ((twice == d) & negative); break;
        case QN_RND_MIN_INF: up = twice > d; break;
        case QN_RND_INF: up = (twice > d) | ((twice == d) & !negative); break;
        default: up = (twice > d) | ((twice == d) & (int)(q & 1)); break;
    }
    return q + up;
}

static void divide64(const qn_transform *t, int64_t *x, int64_t count, int64_t at) {
    const int64_t *n = t->numerator + at, *a = t->addend + at, *d = t->divisor + at;
    const int64_t zero = t->output_zero, low = t->low, high = t->high;
    BY_ROUNDING(t->rounding, for (int64_t i = 0; i < count; ++i) {
        const int64_t y = divide_round(x[i] * n[i] + a[i], d[i], R) + zero;
        const int64_t up = y < low ? low : y;
        x[i] = up > high ? high : up;
    })
}

/* Few thresholds: counted one after the other for all lanes at once. */
static void few_thresholds(const qn_transform *t, int32_t *x, int64_t count, int64_t at) {
    int32_t y[QN_LANES];
    const int32_t *base = t->base_along + at, *step = t->step_along + at;
    for (int64_t i = 0; i < count; ++i) y[i] = 0;
    for (int32_t k = 0; k < t->count; ++k) {
        const int32_t *limit = t->along + (int64_t)k * t->length + at;
        for (int64_t i = 0; i < count; ++i) y[i] += x[i] >= limit[i];
    }
    for (int64_t i = 0; i < count; ++i) x[i] = base[i] + step[i] * y[i];
}

/* --- chains */

void qn_apply32(const qn_chain *chain, int32_t *x, int64_t count, int64_t phase) {
    for (int32_t k = 0; k < chain->count; ++k) {
        const qn_transform *t = &chain->transforms[k];
        for (int64_t i = 0; i < count;) {
            const int64_t at = (phase + i) % t->length;
            int64_t run = t->length - at < count - i ? t->length - at : count - i;
            run = run < QN_LANES ? run : QN_LANES;
            switch (t->kind) {
                case QN_THRESHOLD:
                    if (t->few) {
                        few_thresholds(t, x + i, run, at);
                    } else {
                        threshold32(t, x + i, run, at);
                    }
                    break;
                case QN_LOOKUP: lookup32(t, x + i, run, at); break;
                default: requantize32(t, x + i, run, at); break;
            }
            i += run;
        }
    }
}

void qn_apply64(const qn_chain *chain, int64_t *x, int64_t count, int64_t phase) {
    for (int32_t k = 0; k < chain->count; ++k) {
        const qn_transform *t = &chain->transforms[k];
        for (int64_t i = 0; i < count;) {
            const int64_t at = (phase + i) % t->length;
            int64_t run = t->length - at < count - i ? t->length - at : count - i;
            run = run < QN_LANES ? run : QN_LANES;
            switch (t->kind) {
                case QN_THRESHOLD: threshold64(t, x + i, run, at); break;
                case QN_LOOKUP: lookup64(t, x + i, run, at); break;
                case QN_DIVIDE: divide64(t, x + i, run, at); break;
                default: requantize64(t, x + i, run, at); break;
            }
            i += run;
        }
    }
}

void qn_finish(const qn_chain *chain, int32_t *x, int64_t count, int64_t phase, void *out, int64_t first, int type) {
    if (!chain->wide) {
        qn_apply32(chain, x, count, phase);
        qn_store32(out, first, x, count, type);
        return;
    }
    int64_t wide[QN_LANES];
    for (int64_t i = 0; i < count; i += QN_LANES) {
        const int64_t run = count - i < QN_LANES ? count - i : QN_LANES;
        for (int64_t j = 0; j < run; ++j) wide[j] = x[i + j];
        qn_apply64(chain, wide, run, phase + i);
        qn_store64(out, first + i, wide, run, type);
    }
}
