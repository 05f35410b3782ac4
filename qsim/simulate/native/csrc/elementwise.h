/* The parameters of elementwise.c and move.c; see qsim/simulate/native/lower/. */
#ifndef QSIM_NATIVE_ELEMENTWISE_H
#define QSIM_NATIVE_ELEMENTWISE_H

#include "qsim_native.h"

enum { QN_ADD, QN_MUL, QN_MAX, QN_MIN };

/* size: elements a sample, fewer than the output's where the operand repeats along it (trailing dimensions).
 * constant: the same for every sample. feed: what its elements pass through first. */
typedef struct {
    int32_t type, constant;
    int64_t size;
    int64_t zero;
    int32_t shift, sign;
    qn_chain feed;
} qn_operand;

/* run: lanes at a time, at most QN_LANES; it divides every repeating operand's size where one repeats.
 * flat: no operand repeats or is constant, so that all samples are one run. */
typedef struct {
    int32_t kind, inputs, wide, type_out;
    int32_t flat, pad;
    int64_t size, run;
    const qn_operand *operands;
    qn_chain chain;
} qn_combine_params;

enum { QN_POOL_SUM, QN_POOL_MAX, QN_POOL_MIN };

typedef struct {
    int32_t kind, type_in, type_out, channels;
    int32_t height, width, kernel_height, kernel_width;
    int32_t stride_height, stride_width, top, left;
    int32_t out_height, out_width;
    qn_chain chain;
} qn_pool_params;

/* A static rearrangement: ``count`` copies of ``lengths[i]`` elements from ``from[i]`` (-1: ``fill``) to ``to[i]``. */
typedef struct {
    int32_t type, count;
    int64_t size_in, size_out, fill;
    const int32_t *from, *to, *lengths;
} qn_move_params;

/* Concatenation: input k gives ``inner[k]`` elements of type ``types[k]`` to each of ``outer`` rows. */
typedef struct {
    int32_t inputs, type_out;
    int64_t outer;
    const int64_t *inner;
    const int32_t *types;
    const int32_t *constant;
} qn_join_params;

/* Integer softmax over rows of ``columns``. table[d]: exp of the scaled difference -d to the row's maximum, Q0.31; a
 * difference of ``count`` or more gives ``low``. width: of the output's format. */
typedef struct {
    int32_t type_in, type_out, columns, width;
    int64_t rows, low, high, count;
    const int32_t *table;
} qn_softmax_params;

#endif
