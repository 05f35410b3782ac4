/* Operations that move codes, and the program that runs the steps. */
#include "elementwise.h"

#include <stdlib.h>

void qn_move(const void *params, const void *const *in, void *out, int64_t samples, void *scratch) {
    const qn_move_params *p = params;
    const int64_t bytes = qn_size(p->type);
    (void)scratch;
    for (int64_t s = 0; s < samples; ++s) {
        const char *x = (const char *)in[0] + s * p->size_in * bytes;
        char *y = (char *)out + s * p->size_out * bytes;
        for (int32_t i = 0; i < p->count; ++i) {
            const int64_t length = p->lengths[i];
            if (p->from[i] < 0) {
                for (int64_t j = 0; j < length; ++j) qn_store64(y, p->to[i] + j, &p->fill, 1, p->type);
            } else if (length == 1 && bytes == 1) {
                y[p->to[i]] = x[p->from[i]];
            } else {
                memcpy(y + p->to[i] * bytes, x + p->from[i] * bytes, (size_t)(length * bytes));
            }
        }
    }
}

void qn_join(const void *params, const void *const *in, void *out, int64_t samples, void *scratch) {
    const qn_join_params *p = params;
    int64_t wide[QN_LANES];
    int64_t to = 0;
    (void)scratch;
    for (int64_t s = 0; s < samples; ++s) {
        for (int64_t row = 0; row < p->outer; ++row) {
            for (int32_t k = 0; k < p->inputs; ++k) {
                const int64_t first = ((p->constant[k] ? 0 : s * p->outer) + row) * p->inner[k];
                for (int64_t done = 0; done < p->inner[k]; done += QN_LANES) {
                    const int64_t run = p->inner[k] - done < QN_LANES ? p->inner[k] - done : QN_LANES;
                    qn_load64(wide, in[k], first + done, run, p->types[k]);
                    qn_store64(out, to, wide, run, p->type_out);
                    to += run;
                }
            }
        }
    }
}

static const qn_kernel KERNELS[] = {qn_conv2d, qn_depthwise, qn_dense, qn_combine,
                                    qn_pool,   qn_move,      qn_join,  qn_softmax};

#define MOST_INPUTS 64 /* the planner leaves operations with more to numpy */

/* Runs the steps over all samples, ``block`` at a time, so that what lies between steps stays in the cache.
 * external: the arrays of the whole batch. Returns 0, or 1 where memory is missing. */
int qn_run(const qn_step *steps, int64_t count, const qn_buffer *buffers, void *const *external, int64_t arena,
           int64_t scratch, int64_t samples, int64_t block) {
    const size_t alignment = 64;
    char *memory = malloc((size_t)(arena * block + scratch) + 2 * alignment);
    if (!memory) return 1;
    char *base = memory + (alignment - (uintptr_t)memory % alignment);
    char *work = base + (arena * block + (int64_t)alignment - 1) / (int64_t)alignment * (int64_t)alignment;
    for (int64_t first = 0; first < samples; first += block) {
        const int64_t some = samples - first < block ? samples - first : block;
        for (int64_t i = 0; i < count; ++i) {
            const qn_step *step = &steps[i];
            const void *in[MOST_INPUTS];
            for (int32_t k = 0; k < step->inputs; ++k) {
                const qn_buffer *b = &buffers[step->in[k]];
                in[k] = b->external >= 0 ? (char *)external[b->external] + (b->constant ? 0 : first * b->bytes)
                                         : base + b->offset * block;
            }
            const qn_buffer *b = &buffers[step->out];
            void *out = b->external >= 0 ? (char *)external[b->external] + first * b->bytes : base + b->offset * block;
            KERNELS[step->kind](step->params, in, out, some, work);
        }
    }
    free(memory);
    return 0;
}
