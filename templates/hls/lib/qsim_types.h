// Types shared by the streaming kernels.
//
// Every tensor is a stream of one element per beat, row-major (height, width, channels); every element is an ap_int or
// ap_uint of exactly the width that qsim has proven for the tensor.
#ifndef QSIM_TYPES_H
#define QSIM_TYPES_H

#include <stdint.h>

#include "ap_int.h"
#include "hls_stream.h"

namespace qsim {

// Element of a constant array: ap_int<WIDTH> or ap_uint<WIDTH> in synthesis. In C simulation the least native integer
// that holds it, because g++ builds large ap_int arrays element by element when the program starts. The kernels
// convert each element to its ap type before they compute with it, so both give the same bits.
#ifdef __SYNTHESIS__
template <int WIDTH, bool SIGNED>
struct rom {
    typedef ap_int<WIDTH> type;
};
template <int WIDTH>
struct rom<WIDTH, false> {
    typedef ap_uint<WIDTH> type;
};
#else
template <int BYTES, bool SIGNED>
struct native;
template <> struct native<1, true> { typedef int8_t type; };
template <> struct native<2, true> { typedef int16_t type; };
template <> struct native<4, true> { typedef int32_t type; };
template <> struct native<8, true> { typedef int64_t type; };
template <> struct native<1, false> { typedef uint8_t type; };
template <> struct native<2, false> { typedef uint16_t type; };
template <> struct native<4, false> { typedef uint32_t type; };
template <> struct native<8, false> { typedef uint64_t type; };

template <int WIDTH, bool SIGNED>
struct rom {
    static const int bytes = WIDTH <= 8 ? 1 : WIDTH <= 16 ? 2 : WIDTH <= 32 ? 4 : 8;
    typedef typename native<bytes, SIGNED>::type type;
};
#endif

}  // namespace qsim

#endif
