/* Elementwise product: y[i] = (a[i] - a_zero_point) * (b[i] - b_zero_point).
 *
 * QSIM_A, QSIM_B, QSIM_Y   element types of a, b and y
 * QSIM_T                   int32_t or int64_t: holds every intermediate result (proven when the model was emitted)
 * QSIM_A_AT(i)             a[i], or a[0] where one element of a meets all of the run; QSIM_B_AT(i) alike
 * Preconditions: ``count`` elements; y overlaps neither input.
 */
typedef struct {
    QSIM_T a_zero_point;
    QSIM_T b_zero_point;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_A *a, const QSIM_B *b, QSIM_Y *restrict y, int32_t count, const QSIM_PARAMS *p)
{
    for (int32_t i = 0; i < count; ++i) {
        y[i] = (QSIM_Y)(((QSIM_T)QSIM_A_AT(i) - p->a_zero_point) * ((QSIM_T)QSIM_B_AT(i) - p->b_zero_point));
    }
}

#undef QSIM_NAME
#undef QSIM_A
#undef QSIM_B
#undef QSIM_Y
#undef QSIM_T
#undef QSIM_A_AT
#undef QSIM_B_AT
