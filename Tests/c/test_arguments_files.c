/*
 * test_arguments_files.c - model files that are missing, cut, damaged, of another kind, or made to hurt: loading
 * answers with a status and makes nothing; saving never leaves a part of a file.
 */
#include "arguments.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 512, FILE_LIMIT = 1 << 16 };

/* What is not a model must be FORMAT or VERSION; IO where the file system itself may object. */
#define DAMAGED (FORMAT | VERSION)

static char directory[PATH_SIZE - 64];
static char predictor_path[PATH_SIZE], metric_path[PATH_SIZE], scratch_path[PATH_SIZE];

typedef struct file {
    unsigned char bytes[FILE_LIMIT];
    size_t size;
    size_t header; /* 8 + the length of the JSON header */
} file;

static file predictor_file, metric_file;

static void write_scratch(const void *bytes, size_t size) {
    FILE *stream = fopen(scratch_path, "wb");
    if (stream == NULL || fwrite(bytes, 1, size, stream) != size || fclose(stream) != 0) abort();
}

/* A safetensors file begins with the length of its header, a little-endian number of 8 bytes. */
static void read_model(const char *path, file *model) {
    FILE *stream = fopen(path, "rb");
    CHECK(stream != NULL);
    if (stream == NULL) exit(check_end());
    model->size = fread(model->bytes, 1, FILE_LIMIT, stream);
    fclose(stream);
    uint64_t length = 0;
    for (int k = 7; k >= 0; k -= 1) length = length << 8 | model->bytes[k];
    CHECK(model->size > 8 && model->size < FILE_LIMIT && length < model->size - 8 && model->bytes[8] == '{');
    model->header = length < model->size ? (size_t)length + 8 : 8;
    forget_checksum(model->bytes, model->header);
}

static void make_files(void) {
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/taskmet-test-XXXXXX", base == NULL || base[0] == 0 ? "/tmp" : base);
    if (mkdtemp(directory) == NULL) abort();
    snprintf(predictor_path, PATH_SIZE, "%s/predictor.safetensors", directory);
    snprintf(metric_path, PATH_SIZE, "%s/metric.safetensors", directory);
    snprintf(scratch_path, PATH_SIZE, "%s/scratch", directory);
    NEED(taskmet_predictor_save(W.mlp, predictor_path));
    NEED(taskmet_metric_save(W.conditional, metric_path));
    read_model(predictor_path, &predictor_file);
    read_model(metric_path, &metric_file);
}

static void remove_files(void) {
    remove(predictor_path);
    remove(metric_path);
    remove(scratch_path);
    CHECK(rmdir(directory) == 0); /* nothing else was left there */
}

/* Both loaders must refuse the scratch file. */
static void refuse_scratch(unsigned allowed) {
    REFUSE(allowed, NULL, NULL, taskmet_predictor_load(scratch_path, &O.made.predictor));
    REFUSE(allowed, NULL, NULL, taskmet_metric_load(scratch_path, &O.made.metric));
}

/* Loading may succeed, and then the object must work, or be refused with one of the statuses. */
static void survive_scratch(int is_metric, unsigned allowed) {
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = NULL;
    double out[BUFFER];
    const taskmet_status got =
        is_metric ? taskmet_metric_load(scratch_path, &metric) : taskmet_predictor_load(scratch_path, &predictor);
    CHECK(got == TASKMET_OK || (got > 0 && got < 31 && (ALLOW(got) & allowed) != 0));
    if (got != TASKMET_OK) return;
    int64_t inputs = 0, outputs = 0, count = 0;
    if (is_metric) {
        CHECK_OK(taskmet_metric_shape(metric, &inputs, &outputs, &count));
        if (inputs == FEATURES && outputs == TARGETS) (void)taskmet_metric_evaluate(metric, 1, W.x, inputs, out, 4);
    } else {
        CHECK_OK(taskmet_predictor_shape(predictor, &inputs, &outputs, &count));
        if (inputs == FEATURES && outputs == TARGETS)
            (void)taskmet_predictor_predict(predictor, 1, W.x, inputs, out, outputs);
    }
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(predictor);
}

/* ---------------------------------------------------------------------------------------------------------------- */

static void test_round_trip(void) {
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = NULL;
    CHECK_OK(taskmet_predictor_load(predictor_path, &predictor));
    CHECK_OK(taskmet_metric_load(metric_path, &metric));
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
}

static void test_not_a_file(void) {
    REFUSE(IO, "path|missing", "missing", taskmet_predictor_load("/nonexistent/missing", &O.made.predictor));
    REFUSE(IO, "path|missing", "missing", taskmet_metric_load("/nonexistent/missing", &O.made.metric));
    REFUSE(IO | FORMAT, NULL, directory, taskmet_predictor_load(directory, &O.made.predictor));
    REFUSE(IO | FORMAT, NULL, directory, taskmet_metric_load(directory, &O.made.metric));
    write_scratch("", 0);
    refuse_scratch(IO | FORMAT);
    REFUSE(DAMAGED, NULL, metric_path, taskmet_predictor_load(metric_path, &O.made.predictor));
    REFUSE(DAMAGED, NULL, predictor_path, taskmet_metric_load(predictor_path, &O.made.metric));
}

/* Every prefix of a model is not one. */
static void test_truncated(void) {
    const size_t step = check_quick ? 17 : 1;
    for (size_t size = 1; size < predictor_file.size; size += step) {
        write_scratch(predictor_file.bytes, size);
        REFUSE(DAMAGED, NULL, NULL, taskmet_predictor_load(scratch_path, &O.made.predictor));
    }
    for (size_t size = 1; size < metric_file.size; size += step) {
        write_scratch(metric_file.bytes, size);
        REFUSE(DAMAGED, NULL, NULL, taskmet_metric_load(scratch_path, &O.made.metric));
    }
}

/* One bit of each byte of the header, another one in each byte. */
static void test_flipped(const file *model, int is_metric) {
    static file damaged;
    const size_t step = check_quick ? 11 : 1;
    for (size_t k = 0; k < model->header; k += step) {
        for (int bit = 0; bit < (k < 8 ? 8 : 1); bit += 1) {
            memcpy(&damaged, model, sizeof damaged);
            damaged.bytes[k] ^= (unsigned char)(1u << (k < 8 ? (size_t)bit : k * 5 % 8));
            write_scratch(damaged.bytes, damaged.size);
            survive_scratch(is_metric, DAMAGED);
        }
    }
}

/* Lengths of the header that no file can have. */
static void test_huge_header(void) {
    static const uint64_t lengths[] = {0,
                                       1,
                                       UINT64_C(1) << 32,
                                       UINT64_C(1) << 62,
                                       INT64_MAX - 7,
                                       INT64_MAX,
                                       UINT64_C(1) << 63,
                                       UINT64_MAX - 7,
                                       UINT64_MAX};
    static file damaged;
    for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k += 1) {
        memcpy(&damaged, &predictor_file, sizeof damaged);
        for (int b = 0; b < 8; b += 1) damaged.bytes[b] = (unsigned char)(lengths[k] >> (8 * b) & 0xFF);
        write_scratch(damaged.bytes, damaged.size);
        refuse_scratch(DAMAGED);
    }
}

/* A number in the data that is not finite is refused like one in an array. */
static void test_nonfinite_data(void) {
    static file damaged;
    const double nan = (double)NAN;
    memcpy(&damaged, &predictor_file, sizeof damaged);
    memcpy(damaged.bytes + damaged.size - sizeof nan, &nan, sizeof nan);
    write_scratch(damaged.bytes, damaged.size);
    REFUSE(FORMAT, NULL, NULL, taskmet_predictor_load(scratch_path, &O.made.predictor));
    memcpy(&damaged, &metric_file, sizeof damaged);
    memcpy(damaged.bytes + damaged.size - sizeof nan, &nan, sizeof nan);
    write_scratch(damaged.bytes, damaged.size);
    REFUSE(FORMAT, NULL, NULL, taskmet_metric_load(scratch_path, &O.made.metric));
}

static void test_trailing_bytes(void) {
    static file longer;
    memcpy(&longer, &predictor_file, sizeof longer);
    write_scratch(longer.bytes, longer.size + 5);
    survive_scratch(0, DAMAGED);
}

/* A header of our own in front of 64 bytes of data. */
static void write_header(const char *json, size_t length) {
    unsigned char *bytes = need_memory(length + 8 + 64);
    for (int k = 0; k < 8; k += 1) bytes[k] = (unsigned char)((uint64_t)length >> (8 * k) & 0xFF);
    memcpy(bytes + 8, json, length);
    write_scratch(bytes, length + 8 + 64);
    free(bytes);
}

#define TENSOR(shape, offsets) "\"dtype\":\"F64\",\"shape\":" shape ",\"data_offsets\":" offsets

static void test_hostile_headers(void) {
    static const char *const headers[] = {
        "",
        "{",
        "{}",
        "[]",
        "null",
        "\"",
        "{\"a\":",
        "{\"a\":\"\\u12",
        "{\"a\":\"\\uD800\"}",
        "{\"a\":1e999999999}",
        "{\"a\":-}",
        "{\"a\":{}}",
        "{\"__metadata__\":1}",
        "{\"__metadata__\":{\"format\":1}}",
        "{\"\xff\xfe\":{}}",
        "{\"layers.0.weight\":{" TENSOR("[2,4]", "[0,64]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[2,4]", "[64,0]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[2,4]", "[-8,56]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[2,4]", "[0,9223372036854775807]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[2,4]", "[18446744073709551615,18446744073709551616]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[4294967296,4294967296]", "[0,64]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[9223372036854775807,9223372036854775807]", "[0,64]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[0,4]", "[0,0]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[-2,-4]", "[0,64]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[2.5,4]", "[0,64]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[[2],4]", "[0,64]") "}}",
        "{\"layers.99999999999999999999.weight\":{" TENSOR("[2,4]", "[0,64]") "}}",
        "{\"layers.0.weight\":{" TENSOR("[2,4]", "[0,64]") "},\"layers.0.weight\":{" TENSOR("[2,4]", "[0,64]") "}}",
        "{\"factor\":{" TENSOR("[2]", "[0,16]") "},\"s\":{" TENSOR("[]", "[8,16]") "}}",
    };
    for (size_t k = 0; k < sizeof headers / sizeof headers[0]; k += 1) {
        write_header(headers[k], strlen(headers[k]));
        refuse_scratch(DAMAGED);
    }
}

/* Brackets in brackets: a parser that calls itself for each would run out of stack. */
static void test_deep_header(void) {
    const size_t depth = 1000000;
    char *json = need_memory(depth + 16);
    memset(json, '[', depth);
    write_header(json, depth);
    refuse_scratch(DAMAGED);
    for (size_t k = 0; k + 5 <= depth; k += 5) memcpy(json + k, "{\"a\":", 5);
    write_header(json, depth);
    refuse_scratch(DAMAGED);
    free(json);
}

/* A digit of a shape changed: the tensors no longer fit each other or their data. */
static void test_other_shapes(const file *model, int is_metric) {
    static file damaged;
    for (size_t k = 8; k < model->header; k += 1) {
        if (!isdigit(model->bytes[k])) continue;
        memcpy(&damaged, model, sizeof damaged);
        damaged.bytes[k] = (unsigned char)(damaged.bytes[k] == '9' ? '0' : damaged.bytes[k] + 1);
        write_scratch(damaged.bytes, damaged.size);
        survive_scratch(is_metric, DAMAGED);
    }
}

static int entries_of_directory(void) {
    int count = 0;
    DIR *stream = opendir(directory);
    if (stream == NULL) return -1;
    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) count += entry->d_name[0] != '.';
    closedir(stream);
    return count;
}

/* A save that cannot be made says so, and leaves neither a new file nor a changed one. */
static void test_failed_saves(void) {
    char path[PATH_SIZE + 64];
    const int before = entries_of_directory();
    snprintf(path, sizeof path, "%s/missing/model", directory);
    REFUSE(IO, NULL, path, taskmet_predictor_save(W.mlp, path));
    REFUSE(IO, NULL, path, taskmet_metric_save(W.conditional, path));
    REFUSE(IO, NULL, directory, taskmet_predictor_save(W.mlp, directory));
    REFUSE(IO, NULL, directory, taskmet_metric_save(W.conditional, directory));
    snprintf(path, sizeof path, "%s/below", predictor_path);
    REFUSE(IO, NULL, path, taskmet_predictor_save(W.mlp, path));
    char *name = need_memory(6000);
    memset(name, 'n', 5999);
    REFUSE(IO, NULL, NULL, taskmet_predictor_save(W.mlp, name));
    REFUSE(IO, NULL, NULL, taskmet_predictor_load(name, &O.made.predictor));
    free(name);
    CHECK(entries_of_directory() == before);
    static file now;
    read_model(predictor_path, &now);
    CHECK(now.size == predictor_file.size && memcmp(now.bytes, predictor_file.bytes, now.size) == 0);
}

/* An old file is replaced in one step, and nothing else appears beside it. */
static void test_replaced_saves(void) {
    const int before = entries_of_directory();
    CHECK_OK(taskmet_predictor_save(W.linear, predictor_path));
    CHECK_OK(taskmet_predictor_save(W.mlp, predictor_path));
    CHECK(entries_of_directory() == before);
    static file now;
    read_model(predictor_path, &now);
    CHECK(now.size == predictor_file.size && memcmp(now.bytes, predictor_file.bytes, now.size) == 0);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_world();
    make_files();
    test_round_trip();
    test_not_a_file();
    test_truncated();
    test_flipped(&predictor_file, 0);
    test_flipped(&metric_file, 1);
    test_huge_header();
    test_nonfinite_data();
    test_trailing_bytes();
    test_hostile_headers();
    test_deep_header();
    test_other_shapes(&predictor_file, 0);
    test_other_shapes(&metric_file, 1);
    test_failed_saves();
    test_replaced_saves();
    remove_files();
    destroy_world();
    return check_end();
}
