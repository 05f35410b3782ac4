/* Depthwise Conv2D with weights of one bit (+1, -1) or two (+1, 0, -1) at one output position: output channels first ...
 * first + count - 1.
 *
 * y[i] = product_scale * sum over (u, v) of w * (x[..., o / multiplier] - input_zero_point) + bias[o], o = first + i, over
 * the taps inside the image, without a multiplication by w: its bits become masks. (v ^ m) - m is v for m = 0 and -v for
 * m = -1; v & m is v for m = -1 and 0 for m = 0. The inner loop runs over channels.
 *
 * QSIM_X, QSIM_Y    element types of x and y
 * QSIM_T            int32_t or int64_t: holds every partial sum (proven when the model was emitted)
 * QSIM_TERNARY      0: weights of one bit; 1: of two
 * QSIM_ZERO_POINT   0, or p->input_zero_point
 * QSIM_INPUT(o)     the input channel of output channel o: o, or o / p->multiplier
 * Preconditions: x is the whole image; y points at the first of the ``count`` channels and does not overlap x.
 */
typedef struct {
    const uint32_t *weights; /* [kernel_height][kernel_width][words], ternary [...][words][2]: output o is bit o from the
                                lowest: 1 for +1; in the second word of a pair 1 for -1 */
    const QSIM_T *bias; /* [inputs * multiplier], or NULL */
    QSIM_T input_zero_point;
    QSIM_T product_scale;
    int32_t words;
    qsim_window window;
    int32_t multiplier;
    int32_t dilation_height;
    int32_t dilation_width;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    const qsim_place place = qsim_place_at(&p->window, row, column, p->dilation_height, p->dilation_width);

    for (int32_t done = 0; done < count; done += QSIM_BLOCK) {
        const int32_t begin = first + done;
        const int32_t block = qsim_min_i32(QSIM_BLOCK, count - done);
        QSIM_T sum[QSIM_BLOCK] = {0};

        for (int32_t u = place.u_begin; u < place.u_end; ++u) {
            for (int32_t v = place.v_begin; v < place.v_end; ++v) {
                const QSIM_X *xs = x + qsim_tap(&p->window, place, u * p->dilation_height, v * p->dilation_width);
                const uint32_t *ws = p->weights + (u * p->window.kernel_width + v) * p->words * (1 + QSIM_TERNARY);

                for (int32_t i = 0; i < block; ++i) {
                    const int32_t o = begin + i;
                    const QSIM_T value = (QSIM_T)xs[QSIM_INPUT(o)] - QSIM_ZERO_POINT;
                    const uint32_t *word = ws + (o >> 5) * (1 + QSIM_TERNARY);
                    const QSIM_T plus = (QSIM_T)(word[0] >> (o & 31) & 1u);

                    if (QSIM_TERNARY) {
                        const QSIM_T minus = (QSIM_T)(word[QSIM_TERNARY] >> (o & 31) & 1u);

                        sum[i] += (value & -plus) - (value & -minus);
                    } else {
                        sum[i] += (value ^ (plus - 1)) - (plus - 1);
                    }
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
#undef QSIM_T
#undef QSIM_TERNARY
#undef QSIM_ZERO_POINT
#undef QSIM_INPUT
