/* One aligned input: y[i] = factor * (x[i] - zero_point).
 *
 * QSIM_X, QSIM_Y   element types of x and y
 * QSIM_T           int32_t or int64_t: holds every intermediate result (proven when the model was emitted)
 * Preconditions: ``count`` elements; y does not overlap x.
 */
typedef struct {
    QSIM_T factor;
    QSIM_T zero_point;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t count, const QSIM_PARAMS *p)
{
    for (int32_t i = 0; i < count; ++i) {
        y[i] = (QSIM_Y)(p->factor * ((QSIM_T)x[i] - p->zero_point));
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_T
