/* Sum or maximum over the window of one output position: channels first ... first + count - 1 of ``row``, ``column``.
 *
 * Positions outside the image do not count. The inner loop runs over channels.
 *
 * QSIM_X, QSIM_Y   element types of x and y
 * QSIM_T           int32_t or int64_t: holds every partial result (proven when the model was emitted)
 * QSIM_COMBINE     sum or maximum; QSIM_INITIAL its neutral element
 * Preconditions: x is the whole image; y points at the first of the ``count`` channels and does not overlap x.
 */
typedef struct {
    qsim_window window;
} QSIM_PARAMS;

static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t row, int32_t column, int32_t first, int32_t count,
                      const QSIM_PARAMS *p)
{
    const qsim_place place = qsim_place_at(&p->window, row, column, 1, 1);

    for (int32_t done = 0; done < count; done += QSIM_BLOCK) {
        const int32_t block = qsim_min_i32(QSIM_BLOCK, count - done);
        QSIM_T result[QSIM_BLOCK];

        for (int32_t i = 0; i < block; ++i) {
            result[i] = QSIM_INITIAL;
        }
        for (int32_t u = place.u_begin; u < place.u_end; ++u) {
            for (int32_t v = place.v_begin; v < place.v_end; ++v) {
                const QSIM_X *xs = x + qsim_tap(&p->window, place, u, v) + first + done;

                for (int32_t i = 0; i < block; ++i) {
                    result[i] = QSIM_COMBINE(result[i], (QSIM_T)xs[i]);
                }
            }
        }
        for (int32_t i = 0; i < block; ++i) {
            y[done + i] = (QSIM_Y)result[i];
        }
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_Y
#undef QSIM_T
#undef QSIM_COMBINE
#undef QSIM_INITIAL
