/* Conv2D with weights of one bit (+1, -1) or two (+1, 0, -1) at one output position: output channels first ...
 * first + count - 1.
 *
 * y[i] = product_scale * sum over (u, v, c) of w * (x[...] - input_zero_point) + bias[first + i], over the taps inside the
 * image, without a multiplication by w: its bits become masks. (v ^ m) - m is v for m = 0 and -v for m = -1; v & m is v
 * for m = -1 and 0 for m = 0. A dense layer is a 1x1 convolution over a row of positions.
 *
 * QSIM_X, QSIM_Y    element types of x and y
 * QSIM_T            int32_t or int64_t: holds every partial sum (proven when the model was emitted)
 * QSIM_TERNARY      0: weights of one bit; 1: of two
 * QSIM_ZERO_POINT   0, or p->input_zero_point
 * Preconditions: x is the whole image; y points at the first of the ``count`` channels and does not overlap x.
 */
typedef struct {
    const uint32_t *weights; /* [outputs][words], ternary [outputs][words][2]: tap k of the window, channels last, is bit k
                                from the lowest: 1 for +1; in the second word of a pair 1 for -1 */
    const QSIM_T *bias; /* [outputs], or NULL */
    QSIM_T input_zero_point;
    QSIM_T product_scale;
    int32_t words;
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

    for (int32_t i = 0; i < count; ++i) {
        const int32_t output = first + i;
        const int32_t first_input = output / p->group_outputs * p->group_inputs;
        const uint32_t *weights = p->weights + output * p->words * (1 + QSIM_TERNARY);
        QSIM_T sum = 0;

        for (int32_t u = place.u_begin; u < place.u_end; ++u) {
            for (int32_t v = place.v_begin; v < place.v_end; ++v) {
                const QSIM_X *xs = x + qsim_tap(&p->window, place, u * p->dilation_height, v * p->dilation_width) + first_input;
                int32_t at = (u * p->window.kernel_width + v) * p->group_inputs;
                int32_t left_over = p->group_inputs;

                while (left_over > 0) {
                    /* Taps up to the end of the weights' word. */
                    const int32_t run = qsim_min_i32(left_over, 32 - (at & 31));
                    const uint32_t *word = weights + (at >> 5) * (1 + QSIM_TERNARY);
                    uint32_t plus = word[0] >> (at & 31);
                    uint32_t minus = word[QSIM_TERNARY] >> (at & 31);

                    for (int32_t k = 0; k < run; ++k) {
                        const QSIM_T value = (QSIM_T)xs[k] - QSIM_ZERO_POINT;

                        if (QSIM_TERNARY) {
                            sum += (value & -(QSIM_T)(plus & 1u)) - (value & -(QSIM_T)(minus & 1u));
                            minus >>= 1;
                        } else {
                            const QSIM_T mask = (QSIM_T)(plus & 1u) - 1;

                            sum += (value ^ mask) - mask;
                        }
                        plus >>= 1;
                    }
                    xs += run;
                    at += run;
                    left_over -= run;
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
#undef QSIM_TERNARY
#undef QSIM_ZERO_POINT
