// AXI4-Stream beats with side channels, for ports with TLAST (option tlast).
//
// A beat's TDATA is the code, extended to whole bytes by its sign bit or by zeros; TKEEP and TSTRB are all ones; TLAST
// marks the last element of a tensor. The type is Vitis' ap_axiu; where its header is not there (C simulation with the
// ap_int headers alone), one with the same members stands in for it.
#ifndef QSIM_AXIS_H
#define QSIM_AXIS_H

#include "qsim_types.h"

#if defined(__SYNTHESIS__)
#define QSIM_HAS_AXI_SDATA
#elif defined(__has_include)
#if __has_include("ap_axi_sdata.h")
#define QSIM_HAS_AXI_SDATA
#endif
#endif

#ifdef QSIM_HAS_AXI_SDATA
#include "ap_axi_sdata.h"
#else
template <int DATA, int USER, int ID, int DEST>
struct ap_axiu {
    ap_uint<DATA> data;
    ap_uint<(DATA + 7) / 8> keep;
    ap_uint<(DATA + 7) / 8> strb;
    ap_uint<1> last;
};
#endif

namespace qsim {

// The code of one beat, as a beat.
template <class BEAT, int BITS, class T>
BEAT to_beat(const T &x, bool last) {
#pragma HLS INLINE
    const ap_int<BITS> extended = x;
    BEAT beat;
    beat.data = extended;
    beat.keep = -1;
    beat.strb = -1;
    beat.last = last;
    return beat;
}

// y = the codes of the beats of one tensor. TLAST of the input is not looked at: the number of elements is known.
template <class CFG, class BEAT, class OUT>
void from_beats(hls::stream<BEAT> &in, hls::stream<OUT> &out) {
from_beats_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        const BEAT beat = in.read();
        out.write(OUT(beat.data));
    }
}

// The elements of one tensor as beats, the last of them marked.
template <class CFG, class IN, class BEAT>
void to_beats(hls::stream<IN> &in, hls::stream<BEAT> &out) {
to_beats_elements:
    for (int i = 0; i < CFG::elements; ++i) {
#pragma HLS PIPELINE II=1
        const IN x = in.read();
        out.write(to_beat<BEAT, CFG::bits>(x, i == CFG::elements - 1));
    }
}

}  // namespace qsim

#endif
