/* Copy a box of elements from one strided layout to another: transpositions, slices, concatenation, padding.
 *
 * Axes are given by sizes and strides (in elements, negative allowed), outermost first.
 *
 * QSIM_X, QSIM_Y   element types of x and y; every code of x that occurs is a code of y
 * Preconditions: rank >= 1; x and y point at the first element of the box and do not overlap.
 */
typedef struct {
    int32_t rank;
    int32_t size[QSIM_MAX_RANK];
    int32_t x_stride[QSIM_MAX_RANK];
    int32_t y_stride[QSIM_MAX_RANK];
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, const QSIM_PARAMS *p)
{
    const int32_t last = p->rank - 1;
    int32_t at[QSIM_MAX_RANK] = {0};
    int32_t x_offset = 0;
    int32_t y_offset = 0;
    int32_t axis = 0;

    while (axis >= 0) {
        for (int32_t i = 0; i < p->size[last]; ++i) {
            y[y_offset + i * p->y_stride[last]] = (QSIM_Y)x[x_offset + i * p->x_stride[last]];
        }
        for (axis = last - 1; axis >= 0; --axis) {
            x_offset += p->x_stride[axis];
            y_offset += p->y_stride[axis];
            if (++at[axis] < p->size[axis]) {
                break;
            }
            x_offset -= p->size[axis] * p->x_stride[axis];
            y_offset -= p->size[axis] * p->y_stride[axis];
            at[axis] = 0;
        }
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
