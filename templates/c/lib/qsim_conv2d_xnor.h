/* Conv2D of two opposite values with weights of +1 and -1, one bit each, at one output position: output channels first ...
 * first + count - 1.
 *
 * The window is packed into bits once; a sum of signs is then the taps inside the image minus twice the bits that differ,
 * and product_scale holds the values' size. A dense layer is a 1x1 convolution over a row of positions.
 *
 * QSIM_X, QSIM_Y   element types of x and y
 * QSIM_T           int32_t or int64_t: holds every result (proven when the model was emitted)
 * QSIM_WORDS       words of one output's weights
 * QSIM_ZERO_POINT  0, or p->input_zero_point
 * Preconditions: x is the whole image, x - QSIM_ZERO_POINT one of two opposite values everywhere; y points at the first
 * of the ``count`` channels and does not overlap x.
 */
typedef struct {
    const uint32_t *weights; /* [outputs][words]: bit k, from the lowest, is tap k of the window, channels last */
    const QSIM_T *bias; /* [outputs], or NULL */
    QSIM_T product_scale;
    QSIM_T input_zero_point;
    qsim_window window;
    int32_t dilation_height;
    int32_t dilation_width;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    const qsim_place place = qsim_place_at(&p->window, row, column, p->dilation_height, p->dilation_width);
    uint32_t signs[QSIM_WORDS] = {0};
    uint32_t inside[QSIM_WORDS] = {0};
    int32_t taps = 0;

    for (int32_t u = place.u_begin; u < place.u_end; ++u) {
        for (int32_t v = place.v_begin; v < place.v_end; ++v) {
            const QSIM_X *xs = x + qsim_tap(&p->window, place, u * p->dilation_height, v * p->dilation_width);
            const int32_t at = (u * p->window.kernel_width + v) * p->window.inputs;

            for (int32_t k = 0; k < p->window.inputs; ++k) {
                const uint32_t bit = UINT32_C(1) << ((at + k) & 31);

                signs[(at + k) >> 5] |= (QSIM_T)xs[k] > QSIM_ZERO_POINT ? bit : 0u;
                inside[(at + k) >> 5] |= bit;
            }
            taps += p->window.inputs;
        }
    }
    for (int32_t i = 0; i < count; ++i) {
        const int32_t output = first + i;
        const uint32_t *weights = p->weights + output * QSIM_WORDS;
        int32_t different = 0;

        for (int32_t word = 0; word < QSIM_WORDS; ++word) {
            different += qsim_count_bits((signs[word] ^ weights[word]) & inside[word]);
        }
        y[i] = (QSIM_Y)((QSIM_T)(taps - 2 * different) * p->product_scale + (p->bias != NULL ? p->bias[output] : 0));
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_T
#undef QSIM_WORDS
#undef QSIM_ZERO_POINT
