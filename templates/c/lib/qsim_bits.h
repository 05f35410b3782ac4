/* Bit counting without a library or a compiler builtin. */
#ifndef QSIM_BITS_H
#define QSIM_BITS_H

#include "qsim_common.h"

/* The number of ones: sums of neighbouring 1-, 2-, 4-bit fields, then of the four bytes by a multiplication. */
static inline int32_t qsim_count_bits(uint32_t word)
{
    word -= (word >> 1) & UINT32_C(0x55555555);
    word = (word & UINT32_C(0x33333333)) + ((word >> 2) & UINT32_C(0x33333333));
    word = (word + (word >> 4)) & UINT32_C(0x0f0f0f0f);
    return (int32_t)((word * UINT32_C(0x01010101)) >> 24);
}

#endif
