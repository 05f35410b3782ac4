/* Threshold: y = base[c] + step[c] * (number of k with x >= thresholds[c][k]), found by bisection.
 *
 * QSIM_X, QSIM_Y     element types of x and y
 * QSIM_K             element type of the thresholds, which ascend within a channel
 * QSIM_T             int32_t or int64_t: holds x, every threshold and every result
 * QSIM_PER_CHANNEL   1: the arrays have ``period`` rows; 0: one
 */
typedef struct {
    const QSIM_K *thresholds; /* [period][levels] */
    const QSIM_T *base;
    const QSIM_T *step;
    int32_t levels;
    int32_t period;
} QSIM_PARAMS;

static inline QSIM_Y QSIM_ONE(QSIM_X x, int32_t c, const QSIM_PARAMS *p)
{
    const QSIM_K *thresholds = p->thresholds + c * p->levels;
    int32_t reached = 0; /* thresholds below this index are <= x */
    int32_t end = p->levels; /* thresholds from this index on are > x */

    while (reached < end) {
        const int32_t middle = (reached + end) / 2;

        if ((QSIM_T)x >= (QSIM_T)thresholds[middle]) {
            reached = middle + 1;
        } else {
            end = middle;
        }
    }
    return (QSIM_Y)(p->base[c] + p->step[c] * reached);
}

#include "qsim_elementwise.h"

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_K
#undef QSIM_T
#undef QSIM_PER_CHANNEL
