/* Requantize: y = overflow(rescale(x - input_zero_point) + zero_point).
 *
 * QSIM_X, QSIM_Y     element types of x and y
 * QSIM_T             int32_t or int64_t: holds every intermediate result (proven when the model was emitted)
 * QSIM_RESCALE       the rescaling function, and QSIM_RESCALE_PARAMS its parameters
 * QSIM_NEGATIVE      the same for x < input_zero_point, where it differs; QSIM_NEGATIVE_PARAMS its parameters
 * QSIM_OVERFLOW      the overflow function
 * QSIM_PER_CHANNEL   1: the rescaling arrays have ``period`` elements; 0: one
 */
typedef struct {
    QSIM_RESCALE_PARAMS rescale;
#ifdef QSIM_NEGATIVE
    QSIM_NEGATIVE_PARAMS negative;
#endif
    QSIM_T input_zero_point;
    QSIM_T zero_point;
    QSIM_T low;
    QSIM_T high;
    int32_t period;
} QSIM_PARAMS;

static inline QSIM_Y QSIM_ONE(QSIM_X x, int32_t c, const QSIM_PARAMS *p)
{
    const QSIM_T value = (QSIM_T)x - p->input_zero_point;
#ifdef QSIM_NEGATIVE
    const QSIM_T rescaled =
        (QSIM_T)(value < 0 ? QSIM_NEGATIVE(value, &p->negative, c) : QSIM_RESCALE(value, &p->rescale, c));
#else
    const QSIM_T rescaled = (QSIM_T)QSIM_RESCALE(value, &p->rescale, c);
#endif

    return (QSIM_Y)QSIM_OVERFLOW(rescaled + p->zero_point, p->low, p->high);
}

#include "qsim_elementwise.h"

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_T
#undef QSIM_RESCALE
#undef QSIM_RESCALE_PARAMS
#ifdef QSIM_NEGATIVE
#undef QSIM_NEGATIVE
#undef QSIM_NEGATIVE_PARAMS
#endif
#undef QSIM_OVERFLOW
#undef QSIM_PER_CHANNEL
