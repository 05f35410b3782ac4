/* The loop of every elementwise kernel: y[i] = QSIM_ONE(x[i], channel of element first + i) for 0 <= i < count.
 *
 * x and y point at the first element to be processed; ``first`` is its index in the tensor or in its row of channels.
 * The channel is the index modulo p->period (QSIM_PER_CHANNEL 1), or 0 for parameters that all elements share.
 * Preconditions: x and y do not overlap; first >= 0; count >= 0.
 */
static void QSIM_NAME(const QSIM_X *x, QSIM_Y *restrict y, int32_t first, int32_t count, const QSIM_PARAMS *p)
{
#if QSIM_PER_CHANNEL
    int32_t channel = first % p->period;

    while (count > 0) {
        const int32_t run = qsim_min_i32(count, p->period - channel);

        for (int32_t i = 0; i < run; ++i) {
            y[i] = QSIM_ONE(x[i], channel + i, p);
        }
        x += run;
        y += run;
        count -= run;
        channel = 0;
    }
#else
    (void)first;
    for (int32_t i = 0; i < count; ++i) {
        y[i] = QSIM_ONE(x[i], 0, p);
    }
#endif
}
