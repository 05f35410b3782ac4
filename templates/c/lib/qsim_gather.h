/* Gather: y[i] = x[index[i]] for 0 <= i < count.
 *
 * QSIM_X, QSIM_Y   element types of x and y; every code of x that occurs is a code of y
 * QSIM_K           element type of the indices
 * Preconditions: every index names an element of x; x and y do not overlap.
 */
static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, const QSIM_K *index, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        y[i] = (QSIM_Y)x[index[i]];
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_K
