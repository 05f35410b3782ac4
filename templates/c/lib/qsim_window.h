/* The window of a convolution or a pool: the image that it moves over, its size, steps and padding, in elements. */
#ifndef QSIM_WINDOW_H
#define QSIM_WINDOW_H

#include "qsim_common.h"

typedef struct {
    int32_t height; /* of the image */
    int32_t width;
    int32_t inputs; /* its channels */
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t pad_top;
    int32_t pad_left;
} qsim_window;

/* The window at one output position: tap (u, v) lies at row top + u * dilation_height, column left + v * dilation_width,
 * which is inside the image for u_begin <= u < u_end and v_begin <= v < v_end (nowhere, if an end does not exceed its
 * begin).
 */
typedef struct {
    int32_t top;
    int32_t left;
    int32_t u_begin;
    int32_t u_end;
    int32_t v_begin;
    int32_t v_end;
} qsim_place;

/* How many of the positions start, start + step, ... lie before 0. step > 0. */
static inline int32_t qsim_first_tap(int32_t start, int32_t step)
{
    return start >= 0 ? 0 : (step - 1 - start) / step;
}

/* How many of the positions start, start + step, ..., ``taps`` in all, lie before ``size``. step > 0. */
static inline int32_t qsim_end_tap(int32_t start, int32_t step, int32_t size, int32_t taps)
{
    return start >= size ? 0 : qsim_min_i32(taps, (size - start + step - 1) / step);
}

/* The index of the first channel at one position of the image. */
static inline int32_t qsim_pixel(const qsim_window *window, int32_t row, int32_t column)
{
    return (row * window->width + column) * window->inputs;
}

static inline qsim_place qsim_place_at(const qsim_window *window, int32_t row, int32_t column, int32_t dilation_height,
                                       int32_t dilation_width)
{
    const int32_t top = row * window->stride_height - window->pad_top;
    const int32_t left = column * window->stride_width - window->pad_left;
    const qsim_place place = {
        top,
        left,
        qsim_first_tap(top, dilation_height),
        qsim_end_tap(top, dilation_height, window->height, window->kernel_height),
        qsim_first_tap(left, dilation_width),
        qsim_end_tap(left, dilation_width, window->width, window->kernel_width),
    };

    return place;
}

/* The index of the first channel ``down`` rows and ``across`` columns from the window's first tap. */
static inline int32_t qsim_tap(const qsim_window *window, qsim_place place, int32_t down, int32_t across)
{
    return ((place.top + down) * window->width + place.left + across) * window->inputs;
}

#endif
