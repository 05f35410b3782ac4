/* Lookup: y = table[c][x - table_low].
 *
 * QSIM_X, QSIM_Y     element types of x and y
 * QSIM_K             element type of the table, which covers every code that x can take
 * QSIM_T             int32_t or int64_t: holds x and table_low
 * QSIM_PER_CHANNEL   1: the table has ``period`` rows; 0: one
 */
typedef struct {
    const QSIM_K *table; /* [period][entries] */
    QSIM_T table_low;
    int32_t entries;
    int32_t period;
} QSIM_PARAMS;

static inline QSIM_Y QSIM_ONE(QSIM_X x, int32_t c, const QSIM_PARAMS *p)
{
    return (QSIM_Y)p->table[(QSIM_T)c * p->entries + ((QSIM_T)x - p->table_low)];
}

#include "qsim_elementwise.h"

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_K
#undef QSIM_T
#undef QSIM_PER_CHANNEL
