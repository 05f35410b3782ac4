/* Softmax over rows of ``depth`` elements, TensorFlow Lite's integer kernel bit for bit.
 *
 * For d = x - max(x) >= diff_min: e = exp of d rescaled to Q5.26; the e are summed in Q12.19; y = e / sum in units of
 * 2^-QSIM_BITS, plus low, clipped. Smaller d give ``low``.
 *
 * QSIM_X, QSIM_Y   element types of x and y; QSIM_BITS bits of y's format
 * Preconditions: depth < 4096 (the sum of ones fits Q12.19); x and y do not overlap.
 */
typedef struct {
    int32_t multiplier;
    int32_t left_shift;
    int32_t diff_min;
    int32_t low;
    int32_t high;
    int32_t depth;
} QSIM_PARAMS;

static inline int32_t QSIM_ONE(int64_t difference, const QSIM_PARAMS *p)
{
    return qsim_exp_negative(qsim_tflite_high(difference, p->multiplier, -p->left_shift));
}

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t rows, const QSIM_PARAMS *p)
{
    for (int32_t row = 0; row < rows; ++row, x += p->depth, y += p->depth) {
        QSIM_X greatest = x[0];
        int32_t sum = 0;
        int32_t headroom = 0;
        int32_t reciprocal;

        for (int32_t i = 1; i < p->depth; ++i) {
            if (x[i] > greatest) {
                greatest = x[i];
            }
        }
        for (int32_t i = 0; i < p->depth; ++i) {
            const int64_t difference = (int64_t)x[i] - (int64_t)greatest;

            if (difference >= p->diff_min) {
                sum += qsim_round_scale(QSIM_ONE(difference, p), 12);
            }
        }
        while ((((uint32_t)sum << headroom) & UINT32_C(0x80000000)) == 0u) {
            ++headroom;
        }
        reciprocal = qsim_reciprocal((int32_t)(((uint32_t)sum << headroom) - UINT32_C(0x80000000)));
        for (int32_t i = 0; i < p->depth; ++i) {
            const int64_t difference = (int64_t)x[i] - (int64_t)greatest;
            int32_t code = p->low;

            if (difference >= p->diff_min) {
                const int32_t share = qsim_doubling_high_mul(QSIM_ONE(difference, p), reciprocal);

                code += qsim_round_scale(share, 12 - headroom + 31 - QSIM_BITS);
                code = qsim_min_i32(qsim_max_i32(code, p->low), p->high);
            }
            y[i] = (QSIM_Y)code;
        }
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_BITS
