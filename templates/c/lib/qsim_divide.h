/* Divide: y = clip(round((x * numerator[c] + addend[c]) / divisor[c]) + zero_point, low, high).
 *
 * QSIM_X, QSIM_Y     element types of x and y
 * QSIM_T             int32_t or int64_t: holds every intermediate result (proven when the model was emitted)
 * QSIM_DIVIDE        the rounding division; QSIM_CLIP the clipping function
 * QSIM_PER_CHANNEL   1: the arrays have ``period`` elements; 0: one
 */
typedef struct {
    const QSIM_T *numerator;
    const QSIM_T *addend;
    const QSIM_T *divisor; /* > 0 */
    QSIM_T zero_point;
    QSIM_T low;
    QSIM_T high;
    int32_t period;
} QSIM_PARAMS;

static inline QSIM_Y QSIM_ONE(QSIM_X x, int32_t c, const QSIM_PARAMS *p)
{
    const QSIM_T value = (QSIM_T)x * p->numerator[c] + p->addend[c];

    return (QSIM_Y)QSIM_CLIP(QSIM_DIVIDE(value, p->divisor[c]) + p->zero_point, p->low, p->high);
}

#include "qsim_elementwise.h"

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_T
#undef QSIM_DIVIDE
#undef QSIM_CLIP
#undef QSIM_PER_CHANNEL
