/* Depthwise Conv2D at one output position: output channels first ... first + count - 1 of row ``row``, column ``column``.
 *
 * y[i] = product_scale * sum over (u, v) of weights[u][v][o] * (x[..., o / multiplier] - input_zero_point) + bias[o],
 * o = first + i, over the taps inside the image. The inner loop runs over channels.
 *
 * QSIM_X, QSIM_Y, QSIM_W   element types of x, y and the weights
 * QSIM_T                   int32_t or int64_t: holds every partial sum (proven when the model was emitted)
 * QSIM_ZERO_POINT          0, or p->input_zero_point
 * QSIM_INPUT(o)            the input channel of output channel o: o, or o / p->multiplier
 * Preconditions: x is the whole image; y points at the first of the ``count`` channels and does not overlap x.
 */
typedef struct {
    const QSIM_W *weights; /* [kernel_height][kernel_width][inputs * multiplier] */
    const QSIM_T *bias; /* [inputs * multiplier], or NULL */
    QSIM_T input_zero_point;
    QSIM_T product_scale;
    qsim_window window;
    int32_t multiplier;
    int32_t dilation_height;
    int32_t dilation_width;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    const qsim_place place = qsim_place_at(&p->window, row, column, p->dilation_height, p->dilation_width);
    const int32_t outputs = p->window.inputs * p->multiplier;

    for (int32_t done = 0; done < count; done += QSIM_BLOCK) {
        const int32_t begin = first + done;
        const int32_t block = qsim_min_i32(QSIM_BLOCK, count - done);
        QSIM_T sum[QSIM_BLOCK] = {0};

        for (int32_t u = place.u_begin; u < place.u_end; ++u) {
            for (int32_t v = place.v_begin; v < place.v_end; ++v) {
                const QSIM_X *xs = x + qsim_tap(&p->window, place, u * p->dilation_height, v * p->dilation_width);
                const QSIM_W *ws = p->weights + (u * p->window.kernel_width + v) * outputs + begin;

                for (int32_t i = 0; i < block; ++i) {
                    sum[i] += ((QSIM_T)xs[QSIM_INPUT(begin + i)] - QSIM_ZERO_POINT) * (QSIM_T)ws[i];
                }
            }
        }
        for (int32_t i = 0; i < block; ++i) {
            y[done + i] = (QSIM_Y)(sum[i] * p->product_scale + (p->bias != NULL ? p->bias[begin + i] : 0));
        }
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_W
#undef QSIM_T
#undef QSIM_ZERO_POINT
#undef QSIM_INPUT
