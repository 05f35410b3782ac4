/* Fill: y[i] = value for 0 <= i < count.
 *
 * QSIM_Y   element type of y
 */
static void QSIM_NAME(QSIM_Y *y, QSIM_Y value, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        y[i] = value;
    }
}

#undef QSIM_NAME
#undef QSIM_Y
