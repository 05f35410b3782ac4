/* ArgMax: y[a][b] = the first k that maximises x[a][k][b].
 *
 * QSIM_X, QSIM_Y   element types of x and y
 * Preconditions: x has outer * size * inner elements, y has outer * inner; they do not overlap.
 */
static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t outer, int32_t size, int32_t inner)
{
    for (int32_t a = 0; a < outer; ++a) {
        for (int32_t b = 0; b < inner; ++b) {
            const QSIM_X *xs = x + a * size * inner + b;
            int32_t best = 0;

            for (int32_t k = 1; k < size; ++k) {
                if (xs[k * inner] > xs[best * inner]) {
                    best = k;
                }
            }
            y[a * inner + b] = (QSIM_Y)best;
        }
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
