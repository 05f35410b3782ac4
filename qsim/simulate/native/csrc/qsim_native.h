/* Shape-generic kernels of the simulator's native engine: a graph is a list of steps, run over blocks of samples.
 *
 * Tensors are held in the narrowest of five types that holds their proven range. Inside a step values are lanes of 32 or
 * 64 bits; the planner (qsim/simulate/native/plan.py) has proven, from the graph's ranges, that every intermediate result
 * of a step fits its lanes, so no kernel checks for overflow. Every shift of a negative number is arithmetic, as all
 * compilers that qsim accepts define it.
 */
#ifndef QSIM_NATIVE_H
#define QSIM_NATIVE_H

#include <stdint.h>
#include <string.h>

enum { QN_I8, QN_U8, QN_I16, QN_I32, QN_I64 };                                    /* element types of tensors */
enum { QN_TRN, QN_TRN_ZERO, QN_RND, QN_RND_ZERO, QN_RND_MIN_INF, QN_RND_INF, QN_RND_CONV }; /* as qsim.numerics.Rounding */
enum { QN_WRAP, QN_SAT, QN_SAT_ZERO, QN_SAT_SYM, QN_WRAP_SM };                   /* as qsim.numerics.Overflow */
enum { QN_PLAIN, QN_TFLITE_DOUBLE, QN_TFLITE_UPWARD, QN_TFLITE_SINGLE, QN_FLOAT32 }; /* as qsim.numerics.Scheme */

/* One rescale; m, a, s, f are vectors of the transform's length. s < 0 is a left shift. f = m * 2^-s (FLOAT32 only). */
typedef struct {
    int32_t scheme;
    int32_t rounding;
    int32_t left;  /* whether any s < 0 */
    int32_t unit;  /* whether all m = 1 and a = 0 */
    const int64_t *m;
    const int64_t *a;
    const int32_t *m32;
    const int32_t *a32;
    const int32_t *s;
    const float *f;
} qn_rescale;

enum { QN_REQUANTIZE, QN_DIVIDE, QN_THRESHOLD, QN_LOOKUP };

/* An elementwise operation on lanes, in place. Parameters that vary are vectors of ``length`` elements, which repeat along
 * the tensor (length is a multiple of the parameter's period in the flattened tensor). */
typedef struct {
    int32_t kind;
    int32_t length;
    int64_t input_zero;
    int64_t output_zero;
    int64_t low;
    int64_t high;
    int32_t overflow;
    int32_t width;    /* of the output format, for the wrapping modes */
    int32_t is_signed;
    int32_t has_negative;
    qn_rescale positive;
    qn_rescale negative;
    const int64_t *numerator; /* DIVIDE; ``divisor`` > 0 */
    const int64_t *addend;
    const int64_t *divisor;
    int32_t rounding;
    int32_t count;            /* thresholds a row, or table entries a row */
    int32_t rows;             /* 1, or the channels */
    int32_t few;              /* THRESHOLD: whether ``along`` is given */
    const int64_t *table;     /* THRESHOLD: ascending thresholds; LOOKUP: codes; row by row */
    const int64_t *base;      /* a row */
    const int64_t *step;
    const int32_t *along;     /* few thresholds: [count][length], as vectors along the lanes */
    const int32_t *base_along;
    const int32_t *step_along;
} qn_transform;

typedef struct {
    int32_t count;
    int32_t wide; /* lanes of 64 bits */
    const qn_transform *transforms;
} qn_chain;

typedef struct {
    int32_t kind;
    int32_t inputs;
    const int32_t *in; /* buffer numbers */
    int32_t out;
    int32_t pad;
    const void *params;
} qn_step;

typedef struct {
    int64_t bytes;    /* a sample */
    int64_t offset;   /* in the arena, times the block, or -1 */
    int32_t external; /* index among the arrays of the whole batch, or -1 */
    int32_t constant; /* the same bytes for every sample (external) */
} qn_buffer;

/* What a kernel works on: ``samples`` of each input and of the output, contiguous. */
typedef void (*qn_kernel)(const void *params, const void *const *in, void *out, int64_t samples, void *scratch);

#define QN_LANES 2048 /* lanes of one pass through a chain */

/* --- lanes.c */
void qn_load32(int32_t *to, const void *from, int64_t first, int64_t count, int type);
void qn_load64(int64_t *to, const void *from, int64_t first, int64_t count, int type);
void qn_store32(void *to, int64_t first, const int32_t *from, int64_t count, int type);
void qn_store64(void *to, int64_t first, const int64_t *from, int64_t count, int type);
int64_t qn_size(int type);

/* --- transforms.c: ``phase`` is the flat index of x[0] modulo the transform's length */
void qn_apply32(const qn_chain *chain, int32_t *x, int64_t count, int64_t phase);
void qn_apply64(const qn_chain *chain, int64_t *x, int64_t count, int64_t phase);
/* Runs the chain over 32-bit lanes (which the 64-bit chains widen into a block of their own) and stores the result. */
void qn_finish(const qn_chain *chain, int32_t *x, int64_t count, int64_t phase, void *out, int64_t first, int type);

/* --- kernels, in the order of qsim/simulate/native/lower/base.py's KINDS */
void qn_conv2d(const void *params, const void *const *in, void *out, int64_t samples, void *scratch);
void qn_depthwise(const void *params, const void *const *in, void *out, int64_t samples, void *scratch);
void qn_dense(const void *params, const void *const *in, void *out, int64_t samples, void *scratch);
void qn_combine(const void *params, const void *const *in, void *out, int64_t samples, void *scratch);
void qn_pool(const void *params, const void *const *in, void *out, int64_t samples, void *scratch);
void qn_move(const void *params, const void *const *in, void *out, int64_t samples, void *scratch);
void qn_join(const void *params, const void *const *in, void *out, int64_t samples, void *scratch);
void qn_softmax(const void *params, const void *const *in, void *out, int64_t samples, void *scratch);

#endif
