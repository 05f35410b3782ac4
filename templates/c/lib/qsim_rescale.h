/* PLAIN rescaling: round((value * multiplier[c] + addend[c]) * 2^-shift[c]), and the same without multiplier and addend,
 * for 32 and 64 bits.
 *
 * This file includes itself once for each width: QSIM_OF(qsim_plain_rnd) is qsim_plain_rnd_i32, then qsim_plain_rnd_i64.
 * Preconditions: the product, and the sum before rounding, meet those of qsim_round.h.
 */
#ifndef QSIM_WIDTH
#ifndef QSIM_RESCALE_H
#define QSIM_RESCALE_H

#include "qsim_round.h"

typedef struct {
    const uint8_t *shift;
} qsim_shift;

#define QSIM_WIDTH 32
#include "qsim_rescale.h"
#undef QSIM_WIDTH
#define QSIM_WIDTH 64
#include "qsim_rescale.h"
#undef QSIM_WIDTH

#endif
#else

typedef struct {
    const QSIM_INT *multiplier;
    const QSIM_INT *addend;
    const uint8_t *shift;
} QSIM_OF(qsim_rescale);

#define QSIM_DEFINE_RESCALE(mode)                                                                                       \
    static inline QSIM_INT QSIM_OF(qsim_plain_##mode)(QSIM_INT value, const QSIM_OF(qsim_rescale) * rescale, int32_t c) \
    {                                                                                                                   \
        return QSIM_OF(qsim_shift_##mode)(value * rescale->multiplier[c] + rescale->addend[c], rescale->shift[c]);      \
    }                                                                                                                   \
    static inline QSIM_INT QSIM_OF(qsim_shifted_##mode)(QSIM_INT value, const qsim_shift *rescale, int32_t c)           \
    {                                                                                                                   \
        return QSIM_OF(qsim_shift_##mode)(value, rescale->shift[c]);                                                    \
    }

QSIM_DEFINE_RESCALE(trn)
QSIM_DEFINE_RESCALE(trn_zero)
QSIM_DEFINE_RESCALE(rnd)
QSIM_DEFINE_RESCALE(rnd_zero)
QSIM_DEFINE_RESCALE(rnd_min_inf)
QSIM_DEFINE_RESCALE(rnd_inf)
QSIM_DEFINE_RESCALE(rnd_conv)
#undef QSIM_DEFINE_RESCALE

#endif
