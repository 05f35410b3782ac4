/* Which form of the fast kernels this build takes, and the single steps in which the forms differ.
 *
 * QSIM_DSP    1: Arm's DSP extension (Cortex-M4, M7, M33) by gcc or clang, little-endian, where unaligned loads are
 *             allowed; 0: plain C.
 * QSIM_SMALL  1: a core with eight low registers (Armv6-M): plain C in blocks of two by two.
 * Both can be set by the build (-DQSIM_DSP=0) where they are to be compared. All forms give the same integers.
 */
#ifndef QSIM_FORM_H
#define QSIM_FORM_H

#include "qsim_common.h"

#ifndef QSIM_DSP
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_UNALIGNED) && defined(__thumb2__) && defined(__GNUC__) && \
    !defined(__ARM_BIG_ENDIAN)
#define QSIM_DSP 1
#else
#define QSIM_DSP 0
#endif
#endif

#ifndef QSIM_SMALL
#if defined(__ARM_ARCH_6M__)
#define QSIM_SMALL 1
#else
#define QSIM_SMALL 0
#endif
#endif

#if QSIM_DSP
/* A function that is one block of assembly: its text does not depend on the compiler's options. */
#if defined(__clang__)
#define QSIM_NAKED __attribute__((naked, noinline))
#else
#define QSIM_NAKED __attribute__((naked, noipa))
#endif

/* Four bytes of an array as one word, wherever it begins, and a word that is aligned. */
typedef struct {
    uint32_t value;
} __attribute__((packed, may_alias)) qsim_bytes;
typedef uint32_t __attribute__((may_alias)) qsim_word;
#endif

/* (a * b + 2^30) / 2^31 rounded down. Precondition: |a| < 2^30 (proven when the model was emitted). */
static inline int32_t qsim_high_mul_i32(int32_t a, int32_t b)
{
#if QSIM_DSP
    int32_t high;

    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"((int32_t)((uint32_t)a << 1)), "r"(b));
    return high;
#else
    /* Twice the product: its high word, and the rounding bit below. */
    const int64_t product = (int64_t)(2 * a) * b;

    return (int32_t)(product >> 32) + (int32_t)((uint32_t)(product & INT64_C(0xffffffff)) >> 31);
#endif
}

/* The nearest int8_t. */
static inline int32_t qsim_clip_i8(int32_t value, int32_t low, int32_t high)
{
    (void)low;
    (void)high;
#if QSIM_DSP
    {
        int32_t clipped;

        __asm__("ssat %0, #8, %1" : "=r"(clipped) : "r"(value) : "cc");
        return clipped;
    }
#else
    return value < INT8_MIN ? INT8_MIN : value > INT8_MAX ? INT8_MAX : value;
#endif
}

/* The nearest uint8_t. */
static inline int32_t qsim_clip_u8(int32_t value, int32_t low, int32_t high)
{
    (void)low;
    (void)high;
#if QSIM_DSP
    {
        int32_t clipped;

        __asm__("usat %0, #8, %1" : "=r"(clipped) : "r"(value) : "cc");
        return clipped;
    }
#else
    return value < 0 ? 0 : value > UINT8_MAX ? UINT8_MAX : value;
#endif
}

/* Clip to the limits. */
static inline int32_t qsim_clip_i32(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* No clipping: every value lies within the limits (proven when the model was emitted). */
static inline int32_t qsim_clip_none(int32_t value, int32_t low, int32_t high)
{
    (void)low;
    (void)high;
    return value;
}

#endif
