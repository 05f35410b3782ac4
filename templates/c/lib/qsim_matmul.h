/* MatMul, one row of the result: columns first ... first + count - 1.
 *
 * y[i] = sum over j of (a[j] - a_zero_point) * (b[j][first + i] - b_zero_point)
 *
 * QSIM_A, QSIM_B, QSIM_Y   element types of a, b and y
 * QSIM_T                   int32_t or int64_t: holds every partial sum (proven when the model was emitted)
 * Preconditions: a is a row of ``inner`` elements, b a matrix of ``inner`` rows and ``columns`` columns; y points at the
 * first of ``count`` results and overlaps neither.
 */
typedef struct {
    QSIM_T a_zero_point;
    QSIM_T b_zero_point;
    int32_t inner;
    int32_t columns;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_A *a, const QSIM_B *b, QSIM_Y *restrict y, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    for (int32_t done = 0; done < count; done += QSIM_BLOCK) {
        const int32_t block = qsim_min_i32(QSIM_BLOCK, count - done);
        QSIM_T sum[QSIM_BLOCK] = {0};

        for (int32_t j = 0; j < p->inner; ++j) {
            const QSIM_T left = (QSIM_T)a[j] - p->a_zero_point;
            const QSIM_B *row = b + j * p->columns + first + done;

            for (int32_t i = 0; i < block; ++i) {
                sum[i] += left * ((QSIM_T)row[i] - p->b_zero_point);
            }
        }
        for (int32_t i = 0; i < block; ++i) {
            y[done + i] = (QSIM_Y)sum[i];
        }
    }
}

#undef QSIM_NAME
#undef QSIM_A
#undef QSIM_B
#undef QSIM_Y
#undef QSIM_T
