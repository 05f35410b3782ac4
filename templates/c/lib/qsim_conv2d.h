/* Conv2D at one output position: output channels first ... first + count - 1 of row ``row``, column ``column``.
 *
 * y[i] = product_scale * sum over (u, v, c) of weights[first + i][u][v][c] * (x[...] - input_zero_point) + bias[first + i]
 * over the taps inside the image, each channel from the input channels of its group.
 *
 * QSIM_X, QSIM_Y, QSIM_W   element types of x, y and the weights
 * QSIM_T                   int32_t or int64_t: holds every partial sum (proven when the model was emitted)
 * QSIM_ZERO_POINT          0, or p->input_zero_point
 * Preconditions: x is the whole image; y points at the first of the ``count`` channels and does not overlap x.
 */
typedef struct {
    const QSIM_W *weights; /* [outputs][kernel_height][kernel_width][group_inputs] */
    const QSIM_T *bias; /* [outputs], or NULL */
    QSIM_T input_zero_point;
    QSIM_T product_scale;
    qsim_window window;
    int32_t group_inputs;
    int32_t group_outputs;
    int32_t dilation_height;
    int32_t dilation_width;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    const qsim_place place = qsim_place_at(&p->window, row, column, p->dilation_height, p->dilation_width);
    const int32_t taps = place.v_end > place.v_begin ? place.v_end - place.v_begin : 0;
    /* A row of taps is one contiguous run of the image unless it is dilated or grouped. */
    const int contiguous = p->dilation_width == 1 && p->group_inputs == p->window.inputs;
    const int32_t runs = contiguous ? qsim_min_i32(taps, 1) : taps;
    const int32_t length = contiguous ? taps * p->window.inputs : p->group_inputs;

    for (int32_t i = 0; i < count; ++i) {
        const int32_t output = first + i;
        const int32_t first_input = output / p->group_outputs * p->group_inputs;
        QSIM_T sum = 0;

        for (int32_t u = place.u_begin; runs > 0 && u < place.u_end; ++u) {
            const int32_t down = u * p->dilation_height;
            const int32_t tap = (output * p->window.kernel_height + u) * p->window.kernel_width + place.v_begin;
            const QSIM_X *xs = x + qsim_tap(&p->window, place, down, place.v_begin * p->dilation_width) + first_input;
            const QSIM_W *ws = p->weights + tap * p->group_inputs;

            for (int32_t run = 0; run < runs; ++run) {
                const QSIM_X *xr = xs + run * p->dilation_width * p->window.inputs;
                const QSIM_W *wr = ws + run * p->group_inputs;

                for (int32_t k = 0; k < length; ++k) {
                    sum += ((QSIM_T)xr[k] - QSIM_ZERO_POINT) * (QSIM_T)wr[k];
                }
            }
        }
        y[i] = (QSIM_Y)(sum * p->product_scale + (p->bias != NULL ? p->bias[output] : 0));
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_W
#undef QSIM_T
#undef QSIM_ZERO_POINT
