/* Sum, maximum or minimum over the reduced axes, for the elements first ... first + count - 1 of one innermost kept axis.
 *
 * The reduced axes are given by sizes and strides, outermost first.
 *
 * QSIM_X, QSIM_Y   element types of x and y
 * QSIM_T           int32_t or int64_t: holds every partial result (proven when the model was emitted)
 * QSIM_COMBINE     sum, maximum or minimum; QSIM_INITIAL its neutral element
 * Preconditions: x points at element 0 of the kept axis; y at the first of ``count`` results; they do not overlap.
 */
typedef struct {
    int32_t kept_stride;
    int32_t rank; /* 0 ... QSIM_MAX_RANK reduced axes */
    int32_t size[QSIM_MAX_RANK];
    int32_t stride[QSIM_MAX_RANK];
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t first, int32_t count, const QSIM_PARAMS *p)
{
    for (int32_t done = 0; done < count; done += QSIM_BLOCK) {
        const int32_t block = qsim_min_i32(QSIM_BLOCK, count - done);
        const QSIM_X *xs = x + (first + done) * p->kept_stride;
        int32_t at[QSIM_MAX_RANK] = {0};
        int32_t offset = 0;
        int32_t axis = 0;
        QSIM_T result[QSIM_BLOCK];

        for (int32_t i = 0; i < block; ++i) {
            result[i] = QSIM_INITIAL;
        }
        while (axis >= 0) {
            for (int32_t i = 0; i < block; ++i) {
                result[i] = QSIM_COMBINE(result[i], (QSIM_T)xs[offset + i * p->kept_stride]);
            }
            /* Step to the next position of the reduced axes, the last one fastest. */
            for (axis = p->rank - 1; axis >= 0; --axis) {
                offset += p->stride[axis];
                if (++at[axis] < p->size[axis]) {
                    break;
                }
                offset -= p->size[axis] * p->stride[axis];
                at[axis] = 0;
            }
        }
        for (int32_t i = 0; i < block; ++i) {
            y[done + i] = (QSIM_Y)result[i];
        }
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_T
#undef QSIM_COMBINE
#undef QSIM_INITIAL
