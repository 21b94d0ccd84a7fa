// The kernels for x86-64 with AVX-512.

#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx,avx2,fma,avx512f,avx512dq"))), apply_to = function)
#define KERNELS kernels_avx512
#define KERNELS_NAME "avx512"
#define VECTOR_BYTES 64
#include "kernels.inc"
#pragma clang attribute pop
#endif
