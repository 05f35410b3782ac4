/* Bit counting: the processor's instruction where the compiler has one, else without a table or a library. */
#ifndef QSIM_BITS_H
#define QSIM_BITS_H

#include "qsim_common.h"

/* The number of ones. Without an instruction (Cortex-M, plain RISC-V): sums of neighbouring 1-, 2-, 4-bit fields, then
 * of the four bytes by a multiplication; the compiler's own function would look bytes up in a table. */
static inline int32_t qsim_count_bits(uint32_t word)
{
#if defined(__GNUC__) && (defined(__POPCNT__) || defined(__aarch64__) || defined(__riscv_zbb))
    return (int32_t)__builtin_popcount(word);
#else
    word -= (word >> 1) & UINT32_C(0x55555555);
    word = (word & UINT32_C(0x33333333)) + ((word >> 2) & UINT32_C(0x33333333));
    word = (word + (word >> 4)) & UINT32_C(0x0f0f0f0f);
    return (int32_t)((word * UINT32_C(0x01010101)) >> 24);
#endif
}

#endif
