/*
 * fuzz_readers.c - libFuzzer: any bytes as the data files that the command line reads; the first byte says which kind.
 * The readers are Swift functions, behind those of readers.swift.
 */
#include "target.h"

int32_t taskmet_fuzz_csv(const uint8_t *bytes, int64_t count);
int32_t taskmet_fuzz_prices(const uint8_t *bytes, int64_t count);
int32_t taskmet_fuzz_loads(const uint8_t *bytes, int64_t count);
int32_t taskmet_fuzz_npy(const uint8_t *bytes, int64_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int32_t (*const readers[])(const uint8_t *, int64_t) = {taskmet_fuzz_npy, taskmet_fuzz_csv,
                                                                   taskmet_fuzz_prices, taskmet_fuzz_loads};
    if (size == 0) return 0;
    /* npy files begin with 0x93 themselves. */
    if (data[0] == 0x93) {
        PROMISE(taskmet_fuzz_npy(data, (int64_t)size) == 1);
        return 0;
    }
    PROMISE(readers[data[0] % 4](data + 1, (int64_t)size - 1) == 1);
    return 0;
}
