/* Definitions shared by every kernel.
 *
 * Kernels are generic over their element types. A kernel header is included once for every combination of types
 * that the model uses; kernels.h sets the QSIM_... parameters before each inclusion and the kernel header clears them.
 * Every kernel is static: two models can be linked into one program.
 */
#ifndef QSIM_COMMON_H
#define QSIM_COMMON_H

#include <stddef.h>
#include <stdint.h>

/* Names made of the QSIM_NAME that kernels.h sets before it includes a kernel. */
#define QSIM_JOIN_EXPANDED(a, b) a##b
#define QSIM_JOIN(a, b) QSIM_JOIN_EXPANDED(a, b)
#define QSIM_PARAMS QSIM_JOIN(QSIM_NAME, _params)
#define QSIM_ONE QSIM_JOIN(QSIM_NAME, _one)

/* Functions that exist for 32 and for 64 bits: their file includes itself with QSIM_WIDTH set to the one, then the other.
 * QSIM_OF(f) is the function's name, f_i32 or f_i64.
 */
#define QSIM_INT QSIM_JOIN(QSIM_JOIN(int, QSIM_WIDTH), _t)
#define QSIM_UINT QSIM_JOIN(QSIM_JOIN(uint, QSIM_WIDTH), _t)
#define QSIM_OF(name) QSIM_JOIN(name##_i, QSIM_WIDTH)

/* Accumulators that live at once, on the stack, in kernels and fused layers that add up a row of channels. */
#define QSIM_BLOCK 64

/* The highest rank of the tensors that the data-moving kernels walk through. */
#define QSIM_MAX_RANK 8

/* Right shifts of negative numbers must be arithmetic, as on every compiler for every current target. */
typedef char qsim_requires_arithmetic_shift[((-1) >> 1) == -1 ? 1 : -1];

static inline int32_t qsim_min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t qsim_max_i32(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static inline int64_t qsim_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t qsim_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int32_t qsim_sum_i32(int32_t a, int32_t b)
{
    return a + b;
}

static inline int64_t qsim_sum_i64(int64_t a, int64_t b)
{
    return a + b;
}

#endif
