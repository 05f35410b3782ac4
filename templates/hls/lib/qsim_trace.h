// Recording of every tensor in C simulation (-DQSIM_TRACE). Synthesis and ordinary builds see nothing of it.
//
// In C simulation a stream holds a whole tensor once the process that writes it has returned. The recorder takes each
// element out, writes it as a 64-bit integer in the machine's byte order, and puts it back.
#ifndef QSIM_TRACE_H
#define QSIM_TRACE_H

#if defined(QSIM_TRACE) && !defined(__SYNTHESIS__)

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "qsim_types.h"

namespace qsim {

inline FILE *&trace_file() {
    static FILE *file = 0;
    return file;
}

template <class T>
void trace(hls::stream<T> &stream, const char *tensor, size_t elements) {
    if (!trace_file()) return;
    if (stream.size() != elements) {
        fprintf(stderr, "tensor %s: %zu elements on the stream, not %zu\n", tensor, stream.size(), elements);
        exit(3);
    }
    for (size_t i = 0; i < elements; ++i) {
        const T x = stream.read();
        const int64_t code = x.to_int64();
        fwrite(&code, sizeof code, 1, trace_file());
        stream.write(x);
    }
}

}  // namespace qsim

#define QSIM_TRACE_STREAM(stream, tensor, elements) qsim::trace(stream, tensor, elements);

#else

#define QSIM_TRACE_STREAM(stream, tensor, elements)

#endif

#endif
