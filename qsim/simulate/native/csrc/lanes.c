/* Between the element types of tensors and lanes of 32 or 64 bits. */
#include "qsim_native.h"

int64_t qn_size(int type) {
    static const int64_t sizes[] = {1, 1, 2, 4, 8};
    return sizes[type];
}

#define LOAD(T)                                                          \
    {                                                                    \
        const T *x = (const T *)from + first;                            \
        for (int64_t i = 0; i < count; ++i) to[i] = x[i];                \
        break;                                                           \
    }

void qn_load32(int32_t *to, const void *from, int64_t first, int64_t count, int type) {
    switch (type) {
        case QN_I8: LOAD(int8_t)
        case QN_U8: LOAD(uint8_t)
        case QN_I16: LOAD(int16_t)
        case QN_I32: LOAD(int32_t)
        default: {
            const int64_t *x = (const int64_t *)from + first;
            for (int64_t i = 0; i < count; ++i) to[i] = (int32_t)x[i];
        }
    }
}

void qn_load64(int64_t *to, const void *from, int64_t first, int64_t count, int type) {
    switch (type) {
        case QN_I8: LOAD(int8_t)
        case QN_U8: LOAD(uint8_t)
        case QN_I16: LOAD(int16_t)
        case QN_I32: LOAD(int32_t)
        default: LOAD(int64_t)
    }
}

#define STORE(T)                                                         \
    {                                                                    \
        T *y = (T *)to + first;                                          \
        for (int64_t i = 0; i < count; ++i) y[i] = (T)from[i];           \
        break;                                                           \
    }

void qn_store32(void *to, int64_t first, const int32_t *from, int64_t count, int type) {
    switch (type) {
        case QN_I8: STORE(int8_t)
        case QN_U8: STORE(uint8_t)
        case QN_I16: STORE(int16_t)
        case QN_I32: STORE(int32_t)
        default: STORE(int64_t)
    }
}

void qn_store64(void *to, int64_t first, const int64_t *from, int64_t count, int type) {
    switch (type) {
        case QN_I8: STORE(int8_t)
        case QN_U8: STORE(uint8_t)
        case QN_I16: STORE(int16_t)
        case QN_I32: STORE(int32_t)
        default: STORE(int64_t)
    }
}
