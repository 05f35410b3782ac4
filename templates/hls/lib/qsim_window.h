// The sliding window over a streamed image: a line buffer of past rows and a register window.
#ifndef QSIM_WINDOW_H
#define QSIM_WINDOW_H

#include "qsim_types.h"

namespace qsim {

// Shift one element into column ``column`` of the padded image. After all channels of a pixel, window[u][v][channel] is
// the pixel ROWS-1-u rows above and COLUMNS-1-v columns to the left of it. lines holds the last ROWS-1 rows.
template <int ROWS, int COLUMNS, int WIDTH, int CHANNELS, class T>
void shift_in(T (&lines)[ROWS > 1 ? ROWS - 1 : 1][WIDTH][CHANNELS], T (&window)[ROWS][COLUMNS][CHANNELS], int column,
              int channel, const T &value) {
#pragma HLS INLINE
window_columns:
    for (int u = 0; u < ROWS; ++u) {
#pragma HLS UNROLL
        for (int v = 0; v < COLUMNS - 1; ++v) {
#pragma HLS UNROLL
            window[u][v][channel] = window[u][v + 1][channel];
        }
    }
window_rows:
    for (int u = 0; u < ROWS - 1; ++u) {
#pragma HLS UNROLL
        const T above = lines[u][column][channel];
        window[u][COLUMNS - 1][channel] = above;
        if (u > 0) lines[u - 1][column][channel] = above;
    }
    window[ROWS - 1][COLUMNS - 1][channel] = value;
    if (ROWS > 1) lines[ROWS > 1 ? ROWS - 2 : 0][column][channel] = value;
}

// Whether the window that ends at ``position`` of the padded image is one that the stride keeps.
template <int EXTENT, int STRIDE>
bool at_window_end(int position) {
#pragma HLS INLINE
    return position >= EXTENT - 1 && (position - (EXTENT - 1)) % STRIDE == 0;
}

}  // namespace qsim

#endif
