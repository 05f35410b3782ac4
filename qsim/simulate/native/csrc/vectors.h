/* Which vector forms are compiled: what the processor has, or plain C (-DQSIM_PORTABLE). */
#ifndef QSIM_NATIVE_VECTORS_H
#define QSIM_NATIVE_VECTORS_H

#if defined(__AVX2__) && !defined(QSIM_PORTABLE)
#define QN_AVX2 1
#include <immintrin.h>
#endif

/* Sixteen sums of 32 bits, and dot products of bytes on them: sum[c] += u[j] * s[4c+j] over j = 0 to 3, u unsigned (the same
 * four for all sums), s signed, without saturation. The instruction is AVX-512's or AVX-VNNI's VPDPBUSD;
 * -DQSIM_EMULATE_DOT takes the kernels that use it through AVX2, so that a machine without it can test them. */
#ifdef QN_AVX2
#if defined(__AVX512VNNI__) && defined(__AVX512F__) && !defined(QSIM_EMULATE_DOT)
#define QN_DOT 1
typedef __m512i qn_sums;
static inline qn_sums qn_sums_load(const int32_t *x) { return _mm512_loadu_si512(x); }
static inline void qn_sums_store(int32_t *y, qn_sums sums) { _mm512_storeu_si512(y, sums); }
static inline qn_sums qn_sums_dot(qn_sums sums, int32_t u, qn_sums s) {
    return _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(u), s);
}
#elif defined(__AVXVNNI__) || defined(QSIM_EMULATE_DOT)
#define QN_DOT 1
typedef struct {
    __m256i a, b;
} qn_sums;
#ifdef QSIM_EMULATE_DOT
static inline __m256i qn_dot(__m256i sums, __m256i u, __m256i s) {
    const __m256i low = _mm256_set1_epi16(0xff);
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(u, low), _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));
    return _mm256_add_epi32(sums, _mm256_add_epi32(even, odd));
}
#else
static inline __m256i qn_dot(__m256i sums, __m256i u, __m256i s) { return _mm256_dpbusd_avx_epi32(sums, u, s); }
#endif
static inline qn_sums qn_sums_load(const int32_t *x) {
    const qn_sums made = {_mm256_loadu_si256((const __m256i *)x), _mm256_loadu_si256((const __m256i *)(x + 8))};
    return made;
}
static inline void qn_sums_store(int32_t *y, qn_sums sums) {
    _mm256_storeu_si256((__m256i *)y, sums.a);
    _mm256_storeu_si256((__m256i *)(y + 8), sums.b);
}
static inline qn_sums qn_sums_dot(qn_sums sums, int32_t u, qn_sums s) {
    const __m256i four = _mm256_set1_epi32(u);
    const qn_sums made = {qn_dot(sums.a, four, s.a), qn_dot(sums.b, four, s.b)};
    return made;
}
#endif
#endif

#endif
