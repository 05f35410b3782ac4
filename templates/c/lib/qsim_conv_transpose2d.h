/* ConvTranspose2D at one output position: output channels first ... first + count - 1 of row ``row``, column ``column``.
 *
 * Gathers what the scattering definition adds up: the taps (u, v) for which row + pad_top - u and column + pad_left - v
 * are multiples of the strides and name a position inside the image.
 *
 * QSIM_X, QSIM_Y, QSIM_W   element types of x, y and the weights
 * QSIM_T                   int32_t or int64_t: holds every partial sum (proven when the model was emitted)
 * QSIM_ZERO_POINT          0, or p->input_zero_point
 * Preconditions: x is the whole image; y points at the first of the ``count`` channels and does not overlap x.
 */
typedef struct {
    const QSIM_W *weights; /* [outputs][kernel_height][kernel_width][inputs] */
    const QSIM_T *bias; /* [outputs], or NULL */
    QSIM_T input_zero_point;
    QSIM_T product_scale;
    qsim_window window;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    for (int32_t i = 0; i < count; ++i) {
        const int32_t output = first + i;
        QSIM_T sum = 0;

        for (int32_t u = 0; u < p->window.kernel_height; ++u) {
            const int32_t y_offset = row + p->window.pad_top - u;
            const int32_t input_row = y_offset / p->window.stride_height;

            if (y_offset < 0 || y_offset % p->window.stride_height != 0 || input_row >= p->window.height) {
                continue;
            }
            for (int32_t v = 0; v < p->window.kernel_width; ++v) {
                const int32_t x_offset = column + p->window.pad_left - v;
                const int32_t input_column = x_offset / p->window.stride_width;
                const QSIM_X *xs = x;
                const int32_t tap = (output * p->window.kernel_height + u) * p->window.kernel_width + v;
                const QSIM_W *ws = p->weights + tap * p->window.inputs;

                if (x_offset < 0 || x_offset % p->window.stride_width != 0 || input_column >= p->window.width) {
                    continue;
                }
                xs += qsim_pixel(&p->window, input_row, input_column);
                for (int32_t c = 0; c < p->window.inputs; ++c) {
                    sum += ((QSIM_T)xs[c] - QSIM_ZERO_POINT) * (QSIM_T)ws[c];
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
