/*
 * fault_bits.c - files that have been damaged: every byte of a predictor's, a metric's and a trainer's file with
 * one bit flipped (without "quick": with each of its bits), and every shorter file. What is damaged is refused and
 * changes nothing, or it is harmless: what was loaded writes the undamaged file again, byte for byte.
 */
#include "../c/trainer_fixture.h"

static const shape small = {12, 1, 1, 0, 2, 4};
#define SHORT "warmup_iterations=3 inner_iterations=2 inner_solver=adam inner_batch=4 "

enum { LARGEST = 1 << 16 };

typedef struct bytes {
    unsigned char at[LARGEST];
    size_t size;
} bytes;

typedef enum kind { PREDICTOR, METRIC, TRAINER, KINDS } kind;
static const char *const names[KINDS] = {"predictor", "metric", "trainer"};

static setup s;
static snapshot before; /* of the trainer */
static long flips, harmless;

static void read_bytes(bytes *b) {
    FILE *file = fopen(test_path, "rb");
    if (file == NULL) abort();
    b->size = fread(b->at, 1, LARGEST, file);
    fclose(file);
    CHECK(b->size > 100 && b->size < LARGEST);
}

static void write_bytes(const unsigned char *at, size_t size) {
    remove(test_path);
    FILE *file = fopen(test_path, "wb");
    if (file == NULL || fwrite(at, 1, size, file) != size || fclose(file) != 0) abort();
}

static void save_good(kind what) {
    if (what == PREDICTOR) NEED(taskmet_predictor_save(s.predictor, test_path));
    if (what == METRIC) NEED(taskmet_metric_save(s.metric, test_path));
    if (what == TRAINER) NEED(taskmet_trainer_save(s.trainer, test_path));
}

/* Loads test_path, and writes what was loaded there again. */
static taskmet_status load_and_save(kind what) {
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = NULL;
    taskmet_status got = TASKMET_OK;
    if (what == PREDICTOR) got = taskmet_predictor_load(test_path, &predictor);
    if (what == METRIC) got = taskmet_metric_load(test_path, &metric);
    if (what == TRAINER) got = taskmet_trainer_load(s.trainer, test_path);
    if (got != TASKMET_OK) {
        CHECK(predictor == NULL && metric == NULL);
        return got;
    }
    remove(test_path);
    if (what == PREDICTOR) NEED(taskmet_predictor_save(predictor, test_path));
    if (what == METRIC) NEED(taskmet_metric_save(metric, test_path));
    if (what == TRAINER) NEED(taskmet_trainer_save(s.trainer, test_path));
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
    return TASKMET_OK;
}

static int is_refusal(taskmet_status status) {
    return status == TASKMET_ERROR_FORMAT || status == TASKMET_ERROR_VERSION || status == TASKMET_ERROR_SHAPE ||
           status == TASKMET_ERROR_STATE;
}

/* test_path is damaged. */
static void judge_load(kind what, const bytes *good, const char *how, size_t place) {
    static bytes now;
    const taskmet_status got = load_and_save(what);
    if (got != TASKMET_OK) {
        check_that(is_refusal(got), __FILE__, __LINE__, "%s, %s at %zu: %s (\"%s\")", names[what], how, place,
                   taskmet_status_name(got), taskmet_last_error());
        CHECK_UNCHANGED(&before, s.trainer, "refused");
        return;
    }
    harmless += 1;
    read_bytes(&now);
    check_that(now.size == good->size && memcmp(now.at, good->at, now.size) == 0, __FILE__, __LINE__,
               "%s, %s at %zu: accepted, and something has changed", names[what], how, place);
}

static void test_kind(kind what) {
    static bytes good, bad;
    save_good(what);
    read_bytes(&good);
    bad = good;
    flips = harmless = 0;
    for (size_t k = 0; k < good.size; k += 1)
        for (unsigned bit = 0; bit < 8; bit += 1) {
            if (check_quick && bit != k * 5 % 8) continue;
            bad.at[k] ^= (unsigned char)(1u << bit);
            write_bytes(bad.at, bad.size);
            flips += 1;
            judge_load(what, &good, "a flipped bit", k);
            bad.at[k] = good.at[k];
        }
    printf("%s: %zu bytes; %ld of %ld flips harmless\n", names[what], good.size, harmless, flips);
    CHECK(harmless < flips / 20);
    for (size_t size = 0; size < good.size; size += check_quick ? 3 : 1) {
        write_bytes(good.at, size);
        CHECK(is_refusal(load_and_save(what)));
    }
    write_bytes(good.at, good.size + 1);
    CHECK(is_refusal(load_and_save(what)));
    write_bytes(good.at, good.size);
    CHECK(load_and_save(what) == TASKMET_OK);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    begin(&s, &small, SHORT);
    steps(s.trainer, 2);
    before = take_snapshot(s.trainer);
    for (kind what = PREDICTOR; what < KINDS; what += 1) test_kind(what);
    free_snapshot(&before);
    finish(&s);
    remove_test_directory();
    return check_end();
}
