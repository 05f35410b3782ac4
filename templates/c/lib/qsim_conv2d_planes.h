/* Conv2D of few-bit codes, zero or more, with weights of one bit (+1, -1) or two (+1, 0, -1) at one output position: output
 * channels first ... first + count - 1.
 *
 * The window is taken apart into bit planes once. With b = 1 for +1 the sum of b * x is the count of ones of (plane & b),
 * plane by plane. Weights of one bit: sum of w * x = 2 * sum of b * x - sum of x; of two: sum of b * x - sum of n * x,
 * n = 1 for -1. A dense layer is a 1x1 convolution over a row of positions.
 *
 * QSIM_X, QSIM_Y   element types of x and y
 * QSIM_T           int32_t or int64_t: holds every result (proven when the model was emitted)
 * QSIM_WORDS       words of taps, at most 256
 * QSIM_TERNARY     0: weights of one bit; 1: of two
 * QSIM_PLANES      bits of the greatest code of x, at most 4
 * Preconditions: x is the whole image, every code of it from 0 to 2^QSIM_PLANES - 1; y points at the first of the
 * ``count`` channels and does not overlap x.
 */
typedef struct {
    const uint32_t *weights; /* [outputs][words], ternary [outputs][words][2]: tap k of the window, channels last, is bit k
                                from the lowest: 1 for +1; in the second word of a pair 1 for -1 */
    const QSIM_T *bias; /* [outputs], or NULL */
    QSIM_T product_scale;
    qsim_window window;
    int32_t dilation_height;
    int32_t dilation_width;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    const qsim_place place = qsim_place_at(&p->window, row, column, p->dilation_height, p->dilation_width);
    uint32_t planes[QSIM_PLANES][QSIM_WORDS] = {{0}};
    int32_t total = 0; /* at most 256 words of 32 codes up to 15 */

    for (int32_t u = place.u_begin; u < place.u_end; ++u) {
        for (int32_t v = place.v_begin; v < place.v_end; ++v) {
            const QSIM_X *xs = x + qsim_tap(&p->window, place, u * p->dilation_height, v * p->dilation_width);
            int32_t at = (u * p->window.kernel_width + v) * p->window.inputs;

            for (int32_t k = 0; k < p->window.inputs; ++k) {
                const uint32_t code = (uint32_t)xs[k];

                for (int32_t plane = 0; plane < QSIM_PLANES; ++plane) {
                    planes[plane][at >> 5] |= ((code >> plane) & 1u) << (at & 31);
                }
                total += (int32_t)xs[k];
                ++at;
            }
        }
    }
    for (int32_t i = 0; i < count; ++i) {
        const int32_t output = first + i;
        const uint32_t *weights = p->weights + output * QSIM_WORDS * (1 + QSIM_TERNARY);
        int32_t plus = 0;
        int32_t minus = 0;

        for (int32_t plane = 0; plane < QSIM_PLANES; ++plane) {
            int32_t ones = 0;
            int32_t others = 0;

            for (int32_t word = 0; word < QSIM_WORDS; ++word) {
                const uint32_t *pair = weights + word * (1 + QSIM_TERNARY);

                ones += qsim_count_bits(planes[plane][word] & pair[0]);
                others += QSIM_TERNARY ? qsim_count_bits(planes[plane][word] & pair[QSIM_TERNARY]) : 0;
            }
            plus += ones * (INT32_C(1) << plane);
            minus += others * (INT32_C(1) << plane);
        }
        y[i] = (QSIM_Y)((QSIM_T)(QSIM_TERNARY ? plus - minus : 2 * plus - total) * p->product_scale +
                        (p->bias != NULL ? p->bias[output] : 0));
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_T
#undef QSIM_WORDS
#undef QSIM_PLANES
#undef QSIM_TERNARY
