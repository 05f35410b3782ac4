/* Conv2D with weights of one bit (+1, -1) or two (+1, 0, -1) at one output position: output channels first ...
 * first + count - 1.
 *
 * y[i] = product_scale * sum over (u, v, c) of w * (x[...] - input_zero_point) + bias[first + i], over the taps inside the
 * image. The weights of four taps can make 16 different sums of them. Those are computed once, eight times four taps at
 * a time (the taps of one word of weights), for all output channels; each output then adds one sum per four bits of its
 * weights, two where weights have two bits. A dense layer is a 1x1 convolution over a row of positions.
 *
 * QSIM_X, QSIM_Y    element types of x and y
 * QSIM_T            int32_t or int64_t: holds every partial sum (proven when the model was emitted)
 * QSIM_S            int16_t, int32_t or int64_t: holds four times the greatest |x - input_zero_point| (proven as well)
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
    int32_t dilation_height;
    int32_t dilation_width;
} QSIM_PARAMS;

/* The channels of the pixel under tap (u, v); NULL outside the image and behind the last tap. */
static const QSIM_X *QSIM_ONE(const QSIM_X *x, int32_t top, int32_t left, int32_t u, int32_t v, const QSIM_PARAMS *p)
{
    const int32_t i = top + u * p->dilation_height;
    const int32_t j = left + v * p->dilation_width;

    if (u >= p->window.kernel_height || i < 0 || i >= p->window.height || j < 0 || j >= p->window.width) {
        return NULL;
    }
    return x + qsim_pixel(&p->window, i, j);
}

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    const int32_t top = row * p->window.stride_height - p->window.pad_top;
    const int32_t left = column * p->window.stride_width - p->window.pad_left;
    const int32_t stride = p->words * (1 + QSIM_TERNARY);

    for (int32_t done = 0; done < count; done += QSIM_BLOCK) {
        const int32_t begin = first + done;
        const int32_t block = qsim_min_i32(QSIM_BLOCK, count - done);
        QSIM_T total[QSIM_BLOCK] = {0};
        const QSIM_X *pixel = QSIM_ONE(x, top, left, 0, 0, p);
        int32_t u = 0;
        int32_t v = 0;
        int32_t c = 0;

        for (int32_t word = 0; word < p->words; ++word) {
            const uint32_t *weights = p->weights + begin * stride + word * (1 + QSIM_TERNARY);
            QSIM_S sums[8][16];

            for (int32_t four = 0; four < 8; ++four) {
                QSIM_S *s = sums[four];
                QSIM_T value[4];

                for (int32_t k = 0; k < 4; ++k) {
                    value[k] = pixel != NULL ? (QSIM_T)pixel[c] - QSIM_ZERO_POINT : 0;
                    if (++c == p->window.inputs) {
                        c = 0;
                        v = v + 1 < p->window.kernel_width ? v + 1 : 0;
                        u += v == 0 ? 1 : 0;
                        pixel = QSIM_ONE(x, top, left, u, v, p);
                    }
                }
                /* Bit k of the index adds value k: ternary from 0, else from where all are subtracted. */
                s[0] = (QSIM_S)(QSIM_TERNARY ? 0 : -(value[0] + value[1] + value[2] + value[3]));
                for (int32_t k = 0; k < 4; ++k) {
                    value[k] *= 2 - QSIM_TERNARY;
                }
                s[1] = (QSIM_S)(s[0] + value[0]);
                s[2] = (QSIM_S)(s[0] + value[1]);
                s[3] = (QSIM_S)(s[1] + value[1]);
                for (int32_t i = 0; i < 4; ++i) {
                    s[4 + i] = (QSIM_S)(s[i] + value[2]);
                }
                for (int32_t i = 0; i < 8; ++i) {
                    s[8 + i] = (QSIM_S)(s[i] + value[3]);
                }
            }
            for (int32_t i = 0; i < block; ++i) {
                const uint32_t plus = weights[i * stride];
                QSIM_T sum = (QSIM_T)sums[0][plus & 15u] + sums[1][plus >> 4 & 15u] + sums[2][plus >> 8 & 15u] +
                             sums[3][plus >> 12 & 15u] + sums[4][plus >> 16 & 15u] + sums[5][plus >> 20 & 15u] +
                             sums[6][plus >> 24 & 15u] + sums[7][plus >> 28];

                if (QSIM_TERNARY) {
                    const uint32_t minus = weights[i * stride + QSIM_TERNARY];

                    sum -= (QSIM_T)sums[0][minus & 15u] + sums[1][minus >> 4 & 15u] + sums[2][minus >> 8 & 15u] +
                           sums[3][minus >> 12 & 15u] + sums[4][minus >> 16 & 15u] + sums[5][minus >> 20 & 15u] +
                           sums[6][minus >> 24 & 15u] + sums[7][minus >> 28];
                }
                total[i] += sum;
            }
        }
        for (int32_t i = 0; i < block; ++i) {
            y[done + i] = (QSIM_Y)(total[i] * p->product_scale + (p->bias != NULL ? p->bias[begin + i] : 0));
        }
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_T
#undef QSIM_S
#undef QSIM_TERNARY
#undef QSIM_ZERO_POINT
