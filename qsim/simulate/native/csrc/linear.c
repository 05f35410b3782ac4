/* Convolution and dense layers on 16-bit inputs and weights with 32-bit sums: the planner has proven that the bias and
 * every partial sum fit 32 bits, and weights and inputs (minus the zero point) 16. */
#include "linear.h"

#include "vectors.h"

#define MOST_POSITIONS 512 /* of a chunk */
#define CHUNK 4096 /* sums between the kernel and the elementwise chain: they stay in the first cache */

/* One row of the image, ``count`` elements from flat element ``first`` of the input, each ``spread`` times: minus the zero
 * point, plus ``raise``. */
#define ROW_OF(T, E)                                                                                       \
    {                                                                                                      \
        const T *x = (const T *)in + first;                                                                \
        E *y = (E *)to;                                                                                    \
        if (spread == 1) {                                                                                 \
            for (int64_t j = 0; j < count; ++j) y[j] = (E)(x[j] - change);                                 \
        } else {                                                                                           \
            for (int64_t j = 0; j < count; ++j)                                                            \
                for (int32_t k = 0; k < spread; ++k) y[j * spread + k] = (E)(x[j] - change);               \
        }                                                                                                  \
        break;                                                                                             \
    }
#define ROW(E)                                                                                             \
    switch (p->type_in) {                                                                                  \
        case QN_I8: ROW_OF(int8_t, E)                                                                      \
        case QN_U8: ROW_OF(uint8_t, E)                                                                     \
        case QN_I16: ROW_OF(int16_t, E)                                                                    \
        default: ROW_OF(int32_t, E)                                                                        \
    }

static void widen_row(const qn_linear *p, const void *in, int64_t first, int64_t count, void *to) {
    const int32_t change = p->input_zero - p->raise, spread = p->spread;
    if (p->form == QN_BYTES) {
        ROW(uint8_t)
    } else {
        ROW(int16_t)
    }
}

/* The image in the kernel's element type, inside its border. */
static void widen(const qn_linear *p, const void *in, int64_t sample, char *image) {
    const int64_t bytes = p->form == QN_BYTES ? 1 : 2;
    const int64_t pixel = (int64_t)p->channels * p->spread * bytes, row = p->padded_width * pixel;
    const int64_t inner = (int64_t)p->width * p->channels;
    /* The border stays from sample to sample; what follows the image is read, times weights of zero. */
    if (!sample) memset(image, p->raise, (size_t)(row * p->padded_height + 128));
    for (int32_t i = 0; i < p->height; ++i)
        widen_row(p, in, (sample * p->height + i) * inner, inner, image + (i + p->top) * row + p->left * pixel);
}

#ifdef QN_AVX2
static inline __m256i pair(const int16_t *x) {
    int32_t both;
    memcpy(&both, x, sizeof both);
    return _mm256_set1_epi32(both);
}

/* N positions times 16 channels. x: where each position's window starts; y: [N][stride]. */
#define TILE(N)                                                                                              \
    static void tile##N(const qn_linear *p, const char *const *xs, const int16_t *w, const int32_t *bias,     \
                        int32_t *y, int64_t stride) {                                                        \
        const int16_t *const *x = (const int16_t *const *)xs;                                                \
        __m256i a[N], b[N];                                                                                  \
        for (int n = 0; n < N; ++n) {                                                                        \
            a[n] = _mm256_loadu_si256((const __m256i *)bias);                                                \
            b[n] = _mm256_loadu_si256((const __m256i *)(bias + 8));                                          \
        }                                                                                                    \
        for (int32_t r = 0; r < p->runs; ++r) {                                                              \
            const int64_t from = p->offset[r];                                                               \
            for (int32_t k = 0; k < p->steps; ++k, w += 2 * QN_CHANNELS) {                                   \
                const __m256i wa = _mm256_loadu_si256((const __m256i *)w);                                   \
                const __m256i wb = _mm256_loadu_si256((const __m256i *)(w + 16));                            \
                _Pragma("GCC unroll 8") for (int n = 0; n < N; ++n) {                                        \
                    const __m256i v = pair(x[n] + from + 2 * k);                                             \
                    a[n] = _mm256_add_epi32(a[n], _mm256_madd_epi16(v, wa));                                 \
                    b[n] = _mm256_add_epi32(b[n], _mm256_madd_epi16(v, wb));                                 \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
        for (int n = 0; n < N; ++n) {                                                                        \
            _mm256_storeu_si256((__m256i *)(y + n * stride), a[n]);                                          \
            _mm256_storeu_si256((__m256i *)(y + n * stride + 8), b[n]);                                      \
        }                                                                                                    \
    }
#else
#define TILE(N)                                                                                              \
    static void tile##N(const qn_linear *p, const char *const *xs, const int16_t *w, const int32_t *bias,     \
                        int32_t *y, int64_t stride) {                                                        \
        const int16_t *const *x = (const int16_t *const *)xs;                                                \
        int32_t a[N][QN_CHANNELS];                                                                           \
        for (int n = 0; n < N; ++n)                                                                          \
            for (int o = 0; o < QN_CHANNELS; ++o) a[n][o] = bias[o];                                         \
        for (int32_t r = 0; r < p->runs; ++r) {                                                              \
            for (int32_t k = 0; k < p->steps; ++k, w += 2 * QN_CHANNELS) {                                   \
                for (int n = 0; n < N; ++n) {                                                                \
                    const int16_t *v = x[n] + p->offset[r] + 2 * k;                                          \
                    for (int o = 0; o < QN_CHANNELS; ++o) a[n][o] += v[0] * w[2 * o] + v[1] * w[2 * o + 1];  \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
        for (int n = 0; n < N; ++n)                                                                          \
            for (int o = 0; o < QN_CHANNELS; ++o) y[n * stride + o] = a[n][o];                               \
    }
#endif

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

#ifdef QN_DOT
static inline int32_t four(const char *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return bytes;
}

/* N positions times M panels of 16 channels, on bytes. */
#define DOT(N, M)                                                                                            \
    static void dot##N##x##M(const qn_linear *p, const char *const *x, const int8_t *w, int64_t panel,       \
                             const int32_t *bias, int32_t *y, int64_t stride) {                              \
        qn_sums a[N][M];                                                                                     \
        for (int n = 0; n < N; ++n)                                                                          \
            for (int m = 0; m < M; ++m) a[n][m] = qn_sums_load(bias + m * QN_CHANNELS);                      \
        for (int32_t r = 0; r < p->runs; ++r) {                                                              \
            const int64_t from = p->offset[r];                                                               \
            for (int32_t k = 0; k < p->steps; ++k, w += 4 * QN_CHANNELS) {                                   \
                qn_sums v[M];                                                                                \
                for (int m = 0; m < M; ++m) v[m] = qn_sums_load((const int32_t *)(w + m * panel));           \
                _Pragma("GCC unroll 12") for (int n = 0; n < N; ++n) {                                       \
                    const int32_t u = four(x[n] + from + 4 * k);                                             \
                    for (int m = 0; m < M; ++m) a[n][m] = qn_sums_dot(a[n][m], u, v[m]);                     \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
        for (int n = 0; n < N; ++n)                                                                          \
            for (int m = 0; m < M; ++m) qn_sums_store(y + n * stride + m * QN_CHANNELS, a[n][m]);            \
    }

DOT(12, 1)
DOT(1, 1)
DOT(6, 2)
DOT(1, 2)

static void positions_bytes(const qn_linear *p, const char *const *x, int64_t count, int32_t *y) {
    const int64_t stride = (int64_t)p->panels * QN_CHANNELS;
    const int64_t panel = (int64_t)p->runs * p->steps * 4 * QN_CHANNELS;
    for (int32_t o = 0; o < p->panels;) {
        const int8_t *w = (const int8_t *)p->weights + o * panel;
        const int32_t *bias = p->bias + o * QN_CHANNELS;
        int32_t *to = y + o * QN_CHANNELS;
        int64_t i = 0;
        if (o + 2 <= p->panels) {
            for (; i + 6 <= count; i += 6) dot6x2(p, x + i, w, panel, bias, to + i * stride, stride);
            for (; i < count; ++i) dot1x2(p, x + i, w, panel, bias, to + i * stride, stride);
            o += 2;
        } else {
            for (; i + 12 <= count; i += 12) dot12x1(p, x + i, w, panel, bias, to + i * stride, stride);
            for (; i < count; ++i) dot1x1(p, x + i, w, panel, bias, to + i * stride, stride);
            o += 1;
        }
    }
}
#endif

/* Whether this library has byte dot products: the planner asks before it packs weights. */
int qn_has_dot(void) {
#ifdef QN_DOT
    return 1;
#else
    return 0;
#endif
}

/* The sums of ``count`` positions, as rows of ``panels * 16`` lanes. */
static void positions(const qn_linear *p, const char *const *x, int64_t count, int32_t *y) {
#ifdef QN_DOT
    if (p->form == QN_BYTES) {
        positions_bytes(p, x, count, y);
        return;
    }
#endif
    const int64_t stride = (int64_t)p->panels * QN_CHANNELS;
    const int64_t panel = (int64_t)p->runs * p->steps * 2 * QN_CHANNELS;
    for (int32_t o = 0; o < p->panels; ++o) {
        const int16_t *w = (const int16_t *)p->weights + o * panel;
        const int32_t *bias = p->bias + o * QN_CHANNELS;
        int32_t *to = y + o * QN_CHANNELS;
        int64_t i = 0;
        for (; i + QN_PIXELS <= count; i += QN_PIXELS) tile6(p, x + i, w, bias, to + i * stride, stride);
        switch (count - i) {
            case 1: tile1(p, x + i, w, bias, to + i * stride, stride); break;
            case 2: tile2(p, x + i, w, bias, to + i * stride, stride); break;
            case 3: tile3(p, x + i, w, bias, to + i * stride, stride); break;
            case 4: tile4(p, x + i, w, bias, to + i * stride, stride); break;
            case 5: tile5(p, x + i, w, bias, to + i * stride, stride); break;
            default: break;
        }
    }
}

/* Rows of panels*16 lanes become rows of ``outputs`` lanes, the chain runs, the result is stored. */
static void finish(const qn_linear *p, int32_t *y, int64_t count, void *out, int64_t first) {
    const int64_t stride = (int64_t)p->panels * QN_CHANNELS, n = p->outputs;
    if (stride != n)
        for (int64_t i = 1; i < count; ++i) memmove(y + i * n, y + i * stride, (size_t)n * sizeof *y);
    qn_finish(&p->chain, y, count * n, first * n, out, first * n, p->type_out);
}

/* Positions between two runs of the chain. */
static int64_t chunk_of(const qn_linear *p) {
    const int64_t fit = CHUNK / ((int64_t)p->panels * QN_CHANNELS) / QN_PIXELS * QN_PIXELS;
    const int64_t most = MOST_POSITIONS / QN_PIXELS * QN_PIXELS;
    return fit < QN_PIXELS ? QN_PIXELS : fit < most ? fit : most;
}

void qn_conv2d(const void *params, const void *const *in, void *out, int64_t samples, void *scratch) {
    const qn_linear *p = params;
    const int64_t size = (int64_t)p->out_height * p->out_width;
    const int64_t pixel = p->channels * (p->form == QN_BYTES ? 1 : 2), row = p->padded_width * pixel;
    const int64_t chunk = chunk_of(p);
    int32_t *sums = scratch;
    char *image = (char *)(sums + chunk * p->panels * QN_CHANNELS);
    const char *x[MOST_POSITIONS];
    for (int64_t s = 0; s < samples; ++s) {
        widen(p, in[0], s, image);
        for (int64_t first = 0; first < size; first += chunk) {
            const int64_t count = size - first < chunk ? size - first : chunk;
            for (int64_t i = 0; i < count; ++i) {
                const int64_t at = first + i;
                const int64_t top = at / p->out_width * p->stride_height, left = at % p->out_width * p->stride_width;
                x[i] = image + top * row + left * pixel;
            }
            positions(p, x, count, sums);
            finish(p, sums, count, out, s * size + first);
        }
    }
}

/* A dense layer: every row of the input is a position; all samples' rows make one run of positions. */
void qn_dense(const void *params, const void *const *in, void *out, int64_t samples, void *scratch) {
    const qn_linear *p = params;
    const int64_t rows = samples * p->height;
    const int64_t chunk = chunk_of(p), width = 4 * (int64_t)p->steps; /* bytes, in both forms */
    int32_t *sums = scratch;
    char *wide = (char *)(sums + chunk * p->panels * QN_CHANNELS);
    const char *x[MOST_POSITIONS];
    for (int64_t first = 0; first < rows; first += chunk) {
        const int64_t count = rows - first < chunk ? rows - first : chunk;
        for (int64_t i = 0; i < count; ++i) {
            char *to = wide + i * width;
            memset(to + width - 4, 0, 4); /* what fills the last step meets weights of zero */
            widen_row(p, in[0], (first + i) * p->channels, p->channels, to);
            x[i] = to;
        }
        positions(p, x, count, sums);
        finish(p, sums, count, out, first);
    }
}

/* Depthwise: 16 channels a step, two taps at a time. offset: per tap, an even number of them (the odd one has zero
 * weights); weights[panel][pair of taps][16][2], channels in the order 0-3, 8-11, 4-7, 12-15. */
void qn_depthwise(const void *params, const void *const *in, void *out, int64_t samples, void *scratch) {
    const qn_linear *p = params;
    const int64_t size = (int64_t)p->out_height * p->out_width;
    const int64_t channels = (int64_t)p->channels * p->spread;
    const int64_t row = (int64_t)p->padded_width * channels;
    const int64_t stride = (int64_t)p->panels * QN_CHANNELS;
    int64_t chunk = chunk_of(p);
    int32_t *sums = scratch;
    int16_t *image = (int16_t *)(sums + chunk * stride);
    for (int64_t s = 0; s < samples; ++s) {
        widen(p, in[0], s, (char *)image);
        for (int64_t first = 0; first < size; first += chunk) {
            const int64_t count = size - first < chunk ? size - first : chunk;
            for (int64_t i = 0; i < count; ++i) {
                const int64_t at = first + i;
                const int64_t top = at / p->out_width * p->stride_height, left = at % p->out_width * p->stride_width;
                const int16_t *x = image + top * row + left * channels;
                for (int32_t o = 0; o < p->panels; ++o) {
                    const int16_t *w = (const int16_t *)p->weights + (int64_t)o * p->steps * 2 * QN_CHANNELS;
                    const int16_t *xo = x + o * QN_CHANNELS;
                    int32_t *y = sums + i * stride + o * QN_CHANNELS;
#ifdef QN_AVX2
                    /* unpack works within halves of a vector: a holds channels 0-3 and 8-11, b 4-7 and 12-15 */
                    const __m256i ba = _mm256_loadu_si256((const __m256i *)(p->bias + o * QN_CHANNELS));
                    const __m256i bb = _mm256_loadu_si256((const __m256i *)(p->bias + o * QN_CHANNELS + 8));
                    __m256i a = _mm256_permute2x128_si256(ba, bb, 0x20), b = _mm256_permute2x128_si256(ba, bb, 0x31);
                    for (int32_t k = 0; k < p->steps; ++k, w += 2 * QN_CHANNELS) {
                        const __m256i u = _mm256_loadu_si256((const __m256i *)(xo + p->offset[2 * k]));
                        const __m256i v = _mm256_loadu_si256((const __m256i *)(xo + p->offset[2 * k + 1]));
                        const __m256i wa = _mm256_loadu_si256((const __m256i *)w);
                        const __m256i wb = _mm256_loadu_si256((const __m256i *)(w + 16));
                        a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_unpacklo_epi16(u, v), wa));
                        b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_unpackhi_epi16(u, v), wb));
                    }
                    _mm256_storeu_si256((__m256i *)y, _mm256_permute2x128_si256(a, b, 0x20));
                    _mm256_storeu_si256((__m256i *)(y + 8), _mm256_permute2x128_si256(a, b, 0x31));
#else
                    static const int8_t order[QN_CHANNELS] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15};
                    for (int32_t c = 0; c < QN_CHANNELS; ++c) y[c] = p->bias[o * QN_CHANNELS + c];
                    for (int32_t k = 0; k < p->steps; ++k, w += 2 * QN_CHANNELS) {
                        const int16_t *u = xo + p->offset[2 * k], *v = xo + p->offset[2 * k + 1];
                        for (int32_t c = 0; c < QN_CHANNELS; ++c)
                            y[order[c]] += u[order[c]] * w[2 * c] + v[order[c]] * w[2 * c + 1];
                    }
#endif
                }
            }
            finish(p, sums, count, out, s * size + first);
        }
    }
}
