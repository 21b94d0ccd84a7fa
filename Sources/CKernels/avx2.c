// The kernels for x86-64 with AVX2 and FMA.

#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx,avx2,fma"))), apply_to = function)
#define KERNELS kernels_avx2
#define KERNELS_NAME "avx2"
#define VECTOR_BYTES 32
#include "kernels.inc"
#pragma clang attribute pop
#endif
