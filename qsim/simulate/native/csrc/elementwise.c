/* Elementwise combinations of tensors (one input: the chain alone), and windows that sum or choose. */
#include "elementwise.h"

/* ``count`` lanes of an operand from flat element ``first`` of its data, through its own chain. phase: of that element. */
static void operand64(const qn_operand *o, const void *in, int64_t first, int64_t count, int64_t phase, int64_t *to) {
    if (o->feed.count && !o->feed.wide) {
        int32_t narrow[QN_LANES];
        qn_load32(narrow, in, first, count, o->type);
        qn_apply32(&o->feed, narrow, count, phase);
        for (int64_t i = 0; i < count; ++i) to[i] = narrow[i];
    } else {
        qn_load64(to, in, first, count, o->type);
        qn_apply64(&o->feed, to, count, phase);
    }
}

static void operand32(const qn_operand *o, const void *in, int64_t first, int64_t count, int64_t phase, int32_t *to) {
    if (o->feed.count && o->feed.wide) {
        int64_t wide[QN_LANES];
        qn_load64(wide, in, first, count, o->type);
        qn_apply64(&o->feed, wide, count, phase);
        for (int64_t i = 0; i < count; ++i) to[i] = (int32_t)wide[i];
    } else {
        qn_load32(to, in, first, count, o->type);
        qn_apply32(&o->feed, to, count, phase);
    }
}

#define MERGE(T, U)                                                                                        \
    switch (p->kind) {                                                                                     \
        case QN_ADD:                                                                                       \
            for (int64_t i = 0; i < run; ++i) y[i] += (T)((U)(x[i] - zero) << shift) * sign;               \
            break;                                                                                         \
        case QN_MUL:                                                                                       \
            for (int64_t i = 0; i < run; ++i) y[i] *= x[i] - zero;                                         \
            break;                                                                                         \
        case QN_MAX:                                                                                       \
            for (int64_t i = 0; i < run; ++i) {                                                            \
                const T v = (T)((U)x[i] << shift);                                                         \
                y[i] = v > y[i] ? v : y[i];                                                                \
            }                                                                                              \
            break;                                                                                         \
        default:                                                                                           \
            for (int64_t i = 0; i < run; ++i) {                                                            \
                const T v = (T)((U)x[i] << shift);                                                         \
                y[i] = v < y[i] ? v : y[i];                                                                \
            }                                                                                              \
            break;                                                                                         \
    }

#define FIRST(T, U)                                                                                        \
    switch (p->kind) {                                                                                     \
        case QN_ADD:                                                                                       \
            for (int64_t i = 0; i < run; ++i) y[i] = (T)((U)(y[i] - zero) << shift) * sign;                \
            break;                                                                                         \
        case QN_MUL:                                                                                       \
            for (int64_t i = 0; i < run; ++i) y[i] -= zero;                                                \
            break;                                                                                         \
        default:                                                                                           \
            for (int64_t i = 0; i < run; ++i) y[i] = (T)((U)y[i] << shift);                                \
            break;                                                                                         \
    }

/* One run of ``count`` lanes: element ``at`` of sample ``s`` (or of all samples, where nothing is broadcast). */
static void combine_run(const qn_combine_params *p, const void *const *in, void *out, int64_t s, int64_t at,
                        int64_t run) {
    int64_t wide[QN_LANES], other_wide[QN_LANES];
    int32_t narrow[QN_LANES], other_narrow[QN_LANES];
    for (int32_t k = 0; k < p->inputs; ++k) {
        const qn_operand *o = &p->operands[k];
        const int64_t base = o->constant ? 0 : s * o->size;
        const int64_t within = o->size < p->size ? at % o->size : at;
        if (p->wide) {
            const int64_t zero = o->zero, sign = o->sign;
            const int shift = o->shift;
            int64_t *x = k ? other_wide : wide, *y = wide;
            operand64(o, in[k], base + within, run, within, x);
            if (k) {
                MERGE(int64_t, uint64_t)
            } else if (p->inputs > 1 || zero || shift || sign != 1) {
                FIRST(int64_t, uint64_t)
            }
        } else {
            const int32_t zero = (int32_t)o->zero, sign = o->sign;
            const int shift = o->shift;
            int32_t *x = k ? other_narrow : narrow, *y = narrow;
            operand32(o, in[k], base + within, run, within, x);
            if (k) {
                MERGE(int32_t, uint32_t)
            } else if (p->inputs > 1 || zero || shift || sign != 1) {
                FIRST(int32_t, uint32_t)
            }
        }
    }
    const int64_t first = s * p->size + at;
    if (!p->wide) {
        qn_finish(&p->chain, narrow, run, at, out, first, p->type_out);
    } else if (p->chain.count && !p->chain.wide) {
        for (int64_t i = 0; i < run; ++i) narrow[i] = (int32_t)wide[i];
        qn_finish(&p->chain, narrow, run, at, out, first, p->type_out);
    } else {
        qn_apply64(&p->chain, wide, run, at);
        qn_store64(out, first, wide, run, p->type_out);
    }
}

void qn_combine(const void *params, const void *const *in, void *out, int64_t samples, void *scratch) {
    const qn_combine_params *p = params;
    (void)scratch;
    if (p->flat) { /* all samples are one run: phases follow, since the chains' lengths divide or repeat within a sample */
        const int64_t total = samples * p->size;
        for (int64_t at = 0; at < total; at += p->run) {
            const int64_t run = total - at < p->run ? total - at : p->run;
            combine_run(p, in, out, 0, at, run);
        }
        return;
    }
    for (int64_t s = 0; s < samples; ++s) {
        for (int64_t at = 0; at < p->size; at += p->run) {
            const int64_t run = p->size - at < p->run ? p->size - at : p->run;
            combine_run(p, in, out, s, at, run);
        }
    }
}

/* --- windows */

#define WINDOW(T)                                                                                          \
    {                                                                                                      \
        const T *x = (const T *)in + base + (int64_t)(i * p->width + j) * p->channels;                     \
        if (p->kind == QN_POOL_SUM) {                                                                      \
            for (int32_t c = 0; c < p->channels; ++c) y[c] += x[c];                                        \
        } else if (p->kind == QN_POOL_MAX) {                                                               \
            for (int32_t c = 0; c < p->channels; ++c) y[c] = x[c] > y[c] ? x[c] : y[c];                    \
        } else {                                                                                           \
            for (int32_t c = 0; c < p->channels; ++c) y[c] = x[c] < y[c] ? x[c] : y[c];                    \
        }                                                                                                  \
        break;                                                                                             \
    }

static void window(const qn_pool_params *p, const void *in, int64_t base, int32_t row, int32_t column, int32_t *y) {
    const int32_t start = p->kind == QN_POOL_SUM ? 0 : p->kind == QN_POOL_MAX ? INT32_MIN : INT32_MAX;
    for (int32_t c = 0; c < p->channels; ++c) y[c] = start;
    for (int32_t u = 0; u < p->kernel_height; ++u) {
        const int32_t i = row + u;
        if (i < 0 || i >= p->height) continue;
        for (int32_t v = 0; v < p->kernel_width; ++v) {
            const int32_t j = column + v;
            if (j < 0 || j >= p->width) continue;
            switch (p->type_in) {
                case QN_I8: WINDOW(int8_t)
                case QN_U8: WINDOW(uint8_t)
                case QN_I16: WINDOW(int16_t)
                default: WINDOW(int32_t)
            }
        }
    }
}

void qn_pool(const void *params, const void *const *in, void *out, int64_t samples, void *scratch) {
    const qn_pool_params *p = params;
    const int64_t size = (int64_t)p->out_height * p->out_width, channels = p->channels;
    const int64_t chunk = QN_LANES / channels > 1 ? QN_LANES / channels : 1;
    int32_t *sums = scratch;
    for (int64_t s = 0; s < samples; ++s) {
        const int64_t base = s * p->height * p->width * channels;
        for (int64_t first = 0; first < size; first += chunk) {
            const int64_t count = size - first < chunk ? size - first : chunk;
            for (int64_t i = 0; i < count; ++i) {
                const int32_t row = (int32_t)((first + i) / p->out_width), column = (int32_t)((first + i) % p->out_width);
                window(p, in[0], base, row * p->stride_height - p->top, column * p->stride_width - p->left,
                       sums + i * channels);
            }
            qn_finish(&p->chain, sums, count * channels, first * channels, out, (s * size + first) * channels,
                      p->type_out);
        }
    }
}
