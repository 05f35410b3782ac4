/* PLAIN rescaling: round((value * multiplier[c] + addend[c]) * 2^-shift[c]), and the same without multiplier and addend.
 *
 * Preconditions: the product, and the sum before rounding, meet those of qsim_round.h.
 */
#ifndef QSIM_RESCALE_H
#define QSIM_RESCALE_H

#include "qsim_round.h"

typedef struct {
    const int32_t *multiplier;
    const int32_t *addend;
    const uint8_t *shift;
} qsim_rescale_i32;

typedef struct {
    const int64_t *multiplier;
    const int64_t *addend;
    const uint8_t *shift;
} qsim_rescale_i64;

typedef struct {
    const uint8_t *shift;
} qsim_shift;

#define QSIM_DEFINE_RESCALE(mode, bits)                                                                               \
    static inline int##bits##_t qsim_plain_##mode##_i##bits(int##bits##_t value, const qsim_rescale_i##bits *rescale, \
                                                            int32_t c)                                                \
    {                                                                                                                 \
        return qsim_shift_##mode##_i##bits(value * rescale->multiplier[c] + rescale->addend[c], rescale->shift[c]);   \
    }                                                                                                                 \
    static inline int##bits##_t qsim_shifted_##mode##_i##bits(int##bits##_t value, const qsim_shift *rescale,         \
                                                              int32_t c)                                              \
    {                                                                                                                 \
        return qsim_shift_##mode##_i##bits(value, rescale->shift[c]);                                                 \
    }

QSIM_DEFINE_RESCALE(trn, 32)
QSIM_DEFINE_RESCALE(trn_zero, 32)
QSIM_DEFINE_RESCALE(rnd, 32)
QSIM_DEFINE_RESCALE(rnd_zero, 32)
QSIM_DEFINE_RESCALE(rnd_min_inf, 32)
QSIM_DEFINE_RESCALE(rnd_inf, 32)
QSIM_DEFINE_RESCALE(rnd_conv, 32)
QSIM_DEFINE_RESCALE(trn, 64)
QSIM_DEFINE_RESCALE(trn_zero, 64)
QSIM_DEFINE_RESCALE(rnd, 64)
QSIM_DEFINE_RESCALE(rnd_zero, 64)
QSIM_DEFINE_RESCALE(rnd_min_inf, 64)
QSIM_DEFINE_RESCALE(rnd_inf, 64)
QSIM_DEFINE_RESCALE(rnd_conv, 64)

#endif
