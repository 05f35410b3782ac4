/* Rounding and overflow for one lane type T with unsigned twin U: included once a lane type, with NAME(x) naming it. */

/* round(x * 2^-s), |s| <= bits - 2, as qsim/numerics/rounding.py states it: floor, and one more where the mode says so.
 * Branch-free but for ``mode``, which is a constant where this is inlined, so that loops over it vectorise. */
static inline T NAME(shift_round)(T x, int32_t s, int mode) {
    const int right = s > 0 ? s : 0, left = s < 0 ? -s : 0;
    const T floor = x >> right;
    const T twice = (T)((U)(x - (T)((U)floor << right)) << 1); /* twice the remainder: below 2^(right+1) */
    const T power = (T)((U)1 << right);
    const T negative = x < 0;
    T up;
    switch (mode) {
        case QN_TRN: up = 0; break;
        case QN_TRN_ZERO: up = negative & (T)(twice != 0); break;
        case QN_RND: up = twice >= power; break;
        case QN_RND_ZERO: up = (T)(twice > power) | ((T)(twice == power) & negative); break;
        case QN_RND_MIN_INF: up = twice > power; break;
        case QN_RND_INF: up = (T)(twice > power) | ((T)(twice == power) & (T)!negative); break;
        default: up = (T)(twice > power) | ((T)(twice == power) & (floor & 1)); break;
    }
    return (T)((U)(floor + up) << left);
}

/* The low ``width`` bits of x, as the format reads them. */
static inline T NAME(wrapped)(T x, int width, int is_signed) {
    const int drop = (int)(8 * sizeof(T)) - width;
    if (drop <= 0) return x;
    return is_signed ? (T)((U)x << drop) >> drop : (T)(((U)x << drop) >> drop);
}

/* As qsim.numerics.overflow's WRAP_SM: folds the number line back and forth. */
static inline T NAME(wrapped_sm)(T x, int width, int is_signed) {
    const T kept = NAME(wrapped)(x, width, is_signed);
    if (!is_signed) return kept;
    const int last = (int)(8 * sizeof(T)) - 1;
    const T dropped = (x >> (width < last ? width : last)) & 1;
    const T sign = (x >> (width - 1)) & 1;
    return dropped != sign ? NAME(wrapped)(~kept, width, 1) : kept;
}

static void NAME(overflow)(const qn_transform *t, T *x, int64_t count) {
    const T zero = (T)t->output_zero, low = (T)t->low, high = (T)t->high;
    const int width = t->width, is_signed = t->is_signed;
    switch (t->overflow) {
        case QN_SAT:
        case QN_SAT_SYM:
            for (int64_t i = 0; i < count; ++i) {
                const T y = x[i] + zero;
                const T up = y < low ? low : y;
                x[i] = up > high ? high : up;
            }
            break;
        case QN_SAT_ZERO:
            for (int64_t i = 0; i < count; ++i) {
                const T y = x[i] + zero;
                x[i] = (y < low) | (y > high) ? 0 : y;
            }
            break;
        case QN_WRAP:
            for (int64_t i = 0; i < count; ++i) x[i] = NAME(wrapped)(x[i] + zero, width, is_signed);
            break;
        default:
            for (int64_t i = 0; i < count; ++i) x[i] = NAME(wrapped_sm)(x[i] + zero, width, is_signed);
            break;
    }
}

/* The rounding mode becomes a constant of each loop. */
#define BY_ROUNDING(MODE, BODY)                                  \
    switch (MODE) {                                              \
        case QN_TRN: { enum { R = QN_TRN }; BODY } break;        \
        case QN_TRN_ZERO: { enum { R = QN_TRN_ZERO }; BODY } break; \
        case QN_RND: { enum { R = QN_RND }; BODY } break;        \
        case QN_RND_ZERO: { enum { R = QN_RND_ZERO }; BODY } break; \
        case QN_RND_MIN_INF: { enum { R = QN_RND_MIN_INF }; BODY } break; \
        case QN_RND_INF: { enum { R = QN_RND_INF }; BODY } break; \
        default: { enum { R = QN_RND_CONV }; BODY } break;       \
    }

/* y[i] = base + step * #{k : x[i] >= thresholds[k]}, thresholds of x's row. */
static void NAME(threshold)(const qn_transform *t, T *x, int64_t count, int64_t phase) {
    const int64_t n = t->count;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t row = t->rows > 1 ? (phase + i) % t->rows : 0;
        const int64_t *ts = t->table + row * n;
        int64_t at = 0; /* thresholds[0 .. at) are at most x */
        for (int64_t size = n; size > 0;) {
            const int64_t half = size / 2;
            const int64_t reached = (int64_t)x[i] >= ts[at + half];
            at = reached ? at + half + 1 : at;
            size = reached ? size - half - 1 : half;
        }
        x[i] = (T)(t->base[row] + t->step[row] * at);
    }
}

static void NAME(lookup)(const qn_transform *t, T *x, int64_t count, int64_t phase) {
    const int64_t low = t->input_zero, n = t->count;
    if (t->rows == 1) {
        for (int64_t i = 0; i < count; ++i) x[i] = (T)t->table[x[i] - low];
    } else {
        for (int64_t i = 0; i < count; ++i) x[i] = (T)t->table[(phase + i) % t->rows * n + x[i] - low];
    }
}
