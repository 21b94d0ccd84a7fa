// Which kernels this machine can run.

#include <stddef.h>

#include "kernels.h"

const struct kernel_table *kernels_for(int32_t level)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (level == 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kernels_avx2;
    if (level == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return &kernels_avx512;
#endif
    return level == 0 ? &kernels_baseline : NULL;
}

const struct kernel_table *kernels_best(void)
{
    for (int32_t level = 2; level > 0; level--) {
        const struct kernel_table *kernels = kernels_for(level);
        if (kernels != NULL) return kernels;
    }
    return &kernels_baseline;
}
