/* Conv2D with weights of +1 and -1, one bit each, at one output position: output channels first ... first + count - 1.
 *
 * y[i] = product_scale * sum over (u, v, c) of +-(x[...] - input_zero_point) + bias[first + i], over the taps inside the
 * image: additions and subtractions only. A dense layer is a 1x1 convolution over a row of positions.
 *
 * QSIM_X, QSIM_Y    element types of x and y
 * QSIM_T            int32_t or int64_t: holds every partial sum (proven when the model was emitted)
 * QSIM_ZERO_POINT   0, or p->input_zero_point
 * Preconditions: x is the whole image; y points at the first of the ``count`` channels and does not overlap x.
 */
typedef struct {
    const uint32_t *weights; /* [outputs][words]: bit k, from the lowest, is tap k of the window, channels last */
    const QSIM_T *bias; /* [outputs], or NULL */
    QSIM_T input_zero_point;
    QSIM_T product_scale;
    int32_t words;
    int32_t height;
    int32_t width;
    int32_t inputs;
    int32_t group_inputs;
    int32_t group_outputs;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t dilation_height;
    int32_t dilation_width;
    int32_t pad_top;
    int32_t pad_left;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    const int32_t top = row * p->stride_height - p->pad_top;
    const int32_t left = column * p->stride_width - p->pad_left;
    const int32_t u_begin = qsim_first_tap(top, p->dilation_height);
    const int32_t u_end = qsim_end_tap(top, p->dilation_height, p->height, p->kernel_height);
    const int32_t v_begin = qsim_first_tap(left, p->dilation_width);
    const int32_t v_end = qsim_end_tap(left, p->dilation_width, p->width, p->kernel_width);

    for (int32_t i = 0; i < count; ++i) {
        const int32_t output = first + i;
        const int32_t first_input = output / p->group_outputs * p->group_inputs;
        const uint32_t *weights = p->weights + output * p->words;
        QSIM_T sum = 0;

        for (int32_t u = u_begin; u < u_end; ++u) {
            for (int32_t v = v_begin; v < v_end; ++v) {
                const int32_t pixel = (top + u * p->dilation_height) * p->width + left + v * p->dilation_width;
                const QSIM_X *xs = x + pixel * p->inputs + first_input;
                int32_t at = (u * p->kernel_width + v) * p->group_inputs;
                uint32_t bits = weights[at >> 5] >> (at & 31);

                for (int32_t k = 0; k < p->group_inputs; ++k) {
                    const QSIM_T value = (QSIM_T)xs[k] - QSIM_ZERO_POINT;

                    if ((at & 31) == 0) {
                        bits = weights[at >> 5];
                    }
                    sum += (bits & 1u) != 0u ? value : -value;
                    bits >>= 1;
                    ++at;
                }
            }
        }
        y[i] = (QSIM_Y)(sum * p->product_scale + (p->bias != NULL ? p->bias[output] : 0));
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_T
#undef QSIM_ZERO_POINT
