// The kernels for any machine: what the compiler makes of vectors of 16 bytes.

#define KERNELS kernels_baseline
#define KERNELS_NAME "baseline"
#define VECTOR_BYTES 16
#include "kernels.inc"
