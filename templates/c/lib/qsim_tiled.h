/* Conv2D, and Dense as a convolution of one position, in tiles of QSIM_LANES output positions by all channels.
 *
 * The taps of each position are laid out as qsim_tile.h wants them; positions outside the image hold the zero point.
 * y holds the sums of output elements first ... first + count - 1 in row-major order, all channels of each position.
 *
 * QSIM_X       element type of x, 8 or 16 bits
 * QSIM_BYTES   1: x has 8 bits
 * QSIM_LANES   4, or 1
 * QSIM_TILE    qsim_tile_four or qsim_tile_one
 * QSIM_WIDEN   four bytes of x -> two words of two int16_t: the DSP instruction's prefix, "s" or "u"
 * One row of an image may come in several parts of 4 * groups inputs, so that few of them stand in 16 bits at once: the
 * sums of a part are the bias of the next. Its weights stand part by part, the last part's filled up with zeros.
 * Preconditions: those of qsim_tile.h; x is the whole image; ``first`` and ``count`` are multiples of ``channels``, and
 * count <= QSIM_LANES * channels; columns has 4 * groups * QSIM_LANES elements, and behind them room for 4 * groups of
 * x where inputs is no multiple of four; y has QSIM_LANES * channels elements, and one more
 * where channels are odd.
 */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    int32_t zero_point;
    int32_t groups; /* of a part */
    int32_t parts;
    int32_t row_inputs; /* of all parts of a row; not used where there is one part, which is the window */
    int32_t channels;
    int32_t out_width;
    qsim_window window;
    int32_t dilation_height;
    int32_t dilation_width;
} QSIM_PARAMS;

#define QSIM_WORDS QSIM_JOIN(QSIM_NAME, _words)
#define QSIM_FILL QSIM_JOIN(QSIM_NAME, _fill)
#define QSIM_COPY QSIM_JOIN(QSIM_NAME, _copy)
#define QSIM_INSIDE QSIM_JOIN(QSIM_NAME, _inside)
#define QSIM_BORDER QSIM_JOIN(QSIM_NAME, _border)

/* Elements between the groups of one lane, and between its even and its odd k's. */
#define QSIM_GROUP (4 * QSIM_LANES)
#define QSIM_ODD (2 * QSIM_LANES)

/* ``groups`` fours of inputs from x to the groups from ``to`` on. */
static inline void QSIM_WORDS(const QSIM_X *x, int16_t *to, int32_t groups)
{
#if QSIM_DSP && QSIM_BYTES
    uint32_t bytes;
    uint32_t even;

    if (groups <= 0) {
        return;
    }
    __asm__ volatile(
        "lsrs   %[even], %[groups], #1          \n"
        "bcc    1f                              \n"
        "ldr    %[bytes], [%[x]], #4            \n" QSIM_WIDEN "xtb16 %[even], %[bytes]         \n" QSIM_WIDEN
        "xtb16 %[bytes], %[bytes], ror #8 \n"
        "str    %[bytes], [%[to], %[odd]]       \n"
        "str    %[even], [%[to]], %[group]      \n"
        "subs   %[groups], %[groups], #1        \n"
        "beq    2f                              \n"
        "1:                                     \n"
        "ldr    %[bytes], [%[x]], #4            \n" QSIM_WIDEN "xtb16 %[even], %[bytes]         \n" QSIM_WIDEN
        "xtb16 %[bytes], %[bytes], ror #8 \n"
        "str    %[bytes], [%[to], %[odd]]       \n"
        "str    %[even], [%[to]], %[group]      \n"
        "ldr    %[bytes], [%[x]], #4            \n" QSIM_WIDEN "xtb16 %[even], %[bytes]         \n" QSIM_WIDEN
        "xtb16 %[bytes], %[bytes], ror #8 \n"
        "subs   %[groups], %[groups], #2        \n"
        "str    %[bytes], [%[to], %[odd]]       \n"
        "str    %[even], [%[to]], %[group]      \n"
        "bne    1b                              \n"
        "2:                                     \n"
        : [x] "+r"(x), [to] "+r"(to), [groups] "+r"(groups), [bytes] "=&r"(bytes), [even] "=&r"(even)
        : [odd] "i"(2 * QSIM_ODD), [group] "i"(2 * QSIM_GROUP)
        : "cc", "memory");
#else
    for (; groups > 0; --groups) {
        to[0] = (int16_t)x[0];
        to[1] = (int16_t)x[2];
        to[QSIM_ODD] = (int16_t)x[1];
        to[QSIM_ODD + 1] = (int16_t)x[3];
        x += 4;
        to += QSIM_GROUP;
    }
#endif
}

/* ``groups`` fours of the zero point to the groups from ``to`` on. */
static void QSIM_FILL(int16_t *to, int32_t groups, int32_t zero_point)
{
#if QSIM_DSP
    const uint32_t both = ((uint32_t)zero_point & 0xffffu) * 0x10001u;

    for (; groups > 0; --groups) {
        *(qsim_word *)(void *)to = both;
        *(qsim_word *)(void *)(to + QSIM_ODD) = both;
        to += QSIM_GROUP;
    }
#else
    for (; groups > 0; --groups) {
        to[0] = (int16_t)zero_point;
        to[1] = (int16_t)zero_point;
        to[QSIM_ODD] = (int16_t)zero_point;
        to[QSIM_ODD + 1] = (int16_t)zero_point;
        to += QSIM_GROUP;
    }
#endif
}

/* ``count`` elements as they are. */
static inline void QSIM_COPY(const QSIM_X *x, QSIM_X *to, int32_t count)
{
#if QSIM_DSP && QSIM_BYTES
    if (count >= 4) {
        const QSIM_X *const last = x + count - 4;
        QSIM_X *const to_last = to + count - 4;

        while (x < last) {
            ((qsim_bytes *)(void *)to)->value = ((const qsim_bytes *)(const void *)x)->value;
            x += 4;
            to += 4;
        }
        ((qsim_bytes *)(void *)to_last)->value = ((const qsim_bytes *)(const void *)last)->value;
        return;
    }
#endif
    for (; count > 0; --count) {
        *to++ = *x++;
    }
}

/* A window of which every tap lies inside the image, a row of taps being one run of it: from x on into one lane. */
static inline void QSIM_INSIDE(const QSIM_X *x, int16_t *lane, QSIM_X *packed, const QSIM_PARAMS *p)
{
    const int32_t row_taps = p->window.kernel_width * p->window.inputs;
    const int32_t row_step = p->dilation_height * p->window.width * p->window.inputs;
    int32_t rows = p->window.kernel_height;

    if ((row_taps & 3) == 0) {
        const int32_t groups = row_taps >> 2;

        for (; rows > 0; --rows) {
            QSIM_WORDS(x, lane, groups);
            x += row_step;
            lane += groups * QSIM_GROUP;
        }
    } else {
        QSIM_X *to = packed;

        for (; rows > 0; --rows) {
            QSIM_COPY(x, to, row_taps);
            x += row_step;
            to += row_taps;
        }
        QSIM_WORDS(packed, lane, p->groups);
    }
}

/* Any window: its first tap is at (top, left), inside the image or not. */
static void QSIM_BORDER(const QSIM_X *x, int16_t *lane, QSIM_X *packed, int32_t top, int32_t left, const QSIM_PARAMS *p)
{
    const int whole = (p->window.inputs & 3) == 0;
    int32_t line = top;

    for (int32_t u = p->window.kernel_height; u > 0; --u) {
        int32_t at = left;

        for (int32_t v = p->window.kernel_width; v > 0; --v) {
            const int inside = line >= 0 && line < p->window.height && at >= 0 && at < p->window.width;
            const QSIM_X *const from = inside ? x + qsim_pixel(&p->window, line, at) : NULL;

            if (!whole) {
                for (int32_t c = 0; c < p->window.inputs; ++c) {
                    *packed++ = (QSIM_X)(inside ? from[c] : p->zero_point);
                }
            } else {
                if (inside) {
                    QSIM_WORDS(from, lane, p->window.inputs >> 2);
                } else {
                    QSIM_FILL(lane, p->window.inputs >> 2, p->zero_point);
                }
                lane += p->window.inputs * QSIM_LANES;
            }
            at += p->dilation_width;
        }
        line += p->dilation_height;
    }
    if (!whole) {
        QSIM_WORDS(packed - p->window.kernel_height * p->window.kernel_width * p->window.inputs, lane, p->groups);
    }
}

static void QSIM_NAME(const QSIM_X *x, int32_t *y, int32_t first, int32_t count, int16_t *columns, const QSIM_PARAMS *p)
{
    const int32_t position = first / p->channels;
    QSIM_X *const packed = (QSIM_X *)(void *)(columns + 4 * QSIM_LANES * p->groups);
    /* Windows whose first tap lies before these, and not before zero, are inside the image. */
    const int32_t top_end = p->window.height - (p->window.kernel_height - 1) * p->dilation_height;
    const int32_t left_end = p->dilation_width == 1 ? p->window.width - p->window.kernel_width + 1 : 0;
    int32_t row = position / p->out_width;
    int32_t column = position - row * p->out_width;
    int32_t top = row * p->window.stride_height - p->window.pad_top;
    int32_t left = column * p->window.stride_width - p->window.pad_left;
    int32_t lanes = QSIM_LANES;
    int16_t *lane = columns;
    qsim_tile tile;

    if ((p->window.inputs & 3) != 0) {
        for (int32_t k = 4 * p->groups - 4; k < 4 * p->groups; ++k) {
            packed[k] = 0;
        }
    }
    for (; count > 0; count -= p->channels) {
        if (top >= 0 && top < top_end && left >= 0 && left < left_end) {
            QSIM_INSIDE(x + qsim_pixel(&p->window, top, left), lane, packed, p);
        } else {
            QSIM_BORDER(x, lane, packed, top, left, p);
        }
        left += p->window.stride_width;
        if (++column == p->out_width) {
            column = 0;
            left = -p->window.pad_left;
            top += p->window.stride_height;
        }
        lane += 2;
        --lanes;
    }
    if (first == 0) {
        /* Lanes that the last tile does not use hold what earlier tiles left; the only tile of a small image, zeros. */
        for (; lanes > 0; --lanes) {
            QSIM_FILL(lane, p->groups, 0);
            lane += 2;
        }
    }
    tile.x = columns;
    tile.weights = p->weights;
    tile.bias = p->bias;
    tile.out = y;
    tile.groups = p->groups;
    tile.channels = p->channels;
    tile.left = p->channels;
    QSIM_TILE(&tile);
    for (int32_t part = 1; part < p->parts; ++part) {
        const int32_t begin = 4 * p->groups * part;
        const int32_t inputs = p->row_inputs - begin;
        const int32_t groups = qsim_min_i32(inputs >> 2, p->groups);

        QSIM_WORDS(x + begin, columns, groups);
        if (groups < p->groups) {
            /* What is left over of the inputs, and zeros. */
            for (int32_t k = 4 * groups; k < 4 * p->groups; ++k) {
                int16_t *const to = columns + (k >> 2) * QSIM_GROUP + (k & 1) * QSIM_ODD + ((k >> 1) & 1);

                *to = (int16_t)(k < inputs ? x[begin + k] : 0);
            }
        }
        tile.weights = p->weights + 4 * p->groups * part * (p->channels + (p->channels & 1));
        tile.bias = y;
        tile.out = y;
        tile.left = p->channels;
        QSIM_TILE(&tile);
    }
}

#undef QSIM_NAME
#undef QSIM_X
#undef QSIM_BYTES
#undef QSIM_LANES
#undef QSIM_TILE
#undef QSIM_WIDEN
#undef QSIM_WORDS
#undef QSIM_FILL
#undef QSIM_COPY
#undef QSIM_INSIDE
#undef QSIM_BORDER
#undef QSIM_GROUP
#undef QSIM_ODD
