/* Dense on one row: outputs first ... first + count - 1.
 *
 * y[i] = product_scale * sum over c of weights[first + i][c] * (x[c] - input_zero_point) + bias[first + i]
 *
 * QSIM_X, QSIM_Y, QSIM_W   element types of x, y and the weights
 * QSIM_T                   int32_t or int64_t: holds every partial sum (proven when the model was emitted)
 * QSIM_ZERO_POINT          0, or p->input_zero_point
 * Preconditions: x is a row of ``inputs`` elements; y points at the first of ``count`` outputs and does not overlap x.
 */
typedef struct {
    const QSIM_W *weights; /* [outputs][inputs] */
    const QSIM_T *bias; /* [outputs], or NULL */
    QSIM_T input_zero_point;
    QSIM_T product_scale;
    int32_t inputs;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t first, int32_t count, const QSIM_PARAMS *p)
{
    for (int32_t i = 0; i < count; ++i) {
        const QSIM_W *weights = p->weights + (first + i) * p->inputs;
        QSIM_T sum = 0;

        for (int32_t c = 0; c < p->inputs; ++c) {
            sum += ((QSIM_T)x[c] - QSIM_ZERO_POINT) * (QSIM_T)weights[c];
        }
        y[i] = (QSIM_Y)(sum * p->product_scale + (p->bias != NULL ? p->bias[first + i] : 0));
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_W
#undef QSIM_T
#undef QSIM_ZERO_POINT
