/*
 * test_models_files.c - a model that was saved and loaded is the same to the last bit, with everything that was set; the
 * file is a safetensors file.
 */
#include "check.h"

#include <sys/stat.h>
#include <unistd.h>

enum { D = 3, N = 3, RANK = 2, ROWS = 12, ALL = ROWS * N * N, PATH_SIZE = 512, STRUCTURES = 4 };

static char directory[PATH_SIZE - 64], path[PATH_SIZE];
static double x[ROWS * D];
static taskmet_dataset *data;

static const double input_mean[D] = {0.1, -0.2, 0.3}, input_scale[D] = {1.5, 0.5, 3};
static const double target_mean[N] = {5, 0, -7}, target_scale[N] = {0.1, 1, 20};

static void make_directory(void) {
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/taskmet-test-XXXXXX", base == NULL || base[0] == 0 ? "/tmp" : base);
    if (mkdtemp(directory) == NULL) abort();
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Round trips                                                                                                      */

/* Everything that can be asked of two predictors. */
static void compare_predictors(const taskmet_predictor *a, const taskmet_predictor *b) {
    int64_t ia = 0, ib = 0, oa = 0, ob = 0, na = 0, nb = 0;
    double fa[ROWS * N], fb[ROWS * N], la = 0, lb = 0;
    CHECK_OK(taskmet_predictor_shape(a, &ia, &oa, &na));
    CHECK_OK(taskmet_predictor_shape(b, &ib, &ob, &nb));
    CHECK(ia == ib && oa == ob && na == nb);
    if (na != nb) return;
    double *ta = predictor_parameters(a), *tb = predictor_parameters(b);
    CHECK_SAME_BITS(tb, ta, na);
    CHECK_OK(taskmet_predictor_predict(a, ROWS, x, D, fa, N));
    CHECK_OK(taskmet_predictor_predict(b, ROWS, x, D, fb, N));
    CHECK_SAME_BITS(fb, fa, ROWS * N);
    taskmet_metric *metric = make_conditional(3, D, N, TASKMET_STRUCTURE_FULL, 0, 4);
    CHECK_OK(taskmet_loss_value(a, metric, data, 0.7, &la));
    CHECK_OK(taskmet_loss_value(b, metric, data, 0.7, &lb));
    CHECK_SAME_BITS(&lb, &la, 1);
    CHECK_OK(taskmet_loss_gradient(a, metric, data, 0.7, ta, na));
    CHECK_OK(taskmet_loss_gradient(b, metric, data, 0.7, tb, na));
    CHECK_SAME_BITS(tb, ta, na);
    taskmet_metric_destroy(metric);
    free(ta), free(tb);
}

/* kind: 0 linear, 1 linear without a bias, 2 one hidden layer, 3 two hidden layers and a squashed output, 4 none. */
static taskmet_predictor *new_predictor(int kind) {
    static const int64_t hidden[] = {5, 4};
    taskmet_predictor *p = NULL;
    if (kind < 2) NEED(taskmet_predictor_create_linear(D, N, kind == 0, &p));
    if (kind == 2) p = make_mlp(6, D, N, 5);
    if (kind == 3)
        NEED(taskmet_predictor_create_mlp(D, N, 2, hidden, TASKMET_ACTIVATION_GELU, TASKMET_ACTIVATION_SOFTPLUS, 7, &p));
    if (kind == 4)
        NEED(taskmet_predictor_create_mlp(D, N, 0, NULL, TASKMET_ACTIVATION_RELU, TASKMET_ACTIVATION_IDENTITY, 8, &p));
    shake_predictor(p, 9, 0.7);
    return p;
}

/* Bits 0 and 1: standardisation of the inputs and of the targets; bit 2: biases are not penalised. */
static void test_predictors(void) {
    for (int kind = 0; kind < 5; kind += 1)
        for (int settings = 0; settings < 8; settings += 1) {
            taskmet_predictor *p = new_predictor(kind), *loaded = NULL, *again = NULL;
            const int in = settings & 1, out = settings & 2;
            CHECK_OK(taskmet_predictor_set_standardization(p, in ? input_mean : NULL, in ? input_scale : NULL,
                                                           in ? D : 0, out ? target_mean : NULL,
                                                           out ? target_scale : NULL, out ? N : 0));
            CHECK_OK(taskmet_predictor_set_penalize_bias(p, (settings & 4) == 0));
            CHECK_OK(taskmet_predictor_save(p, path));
            CHECK_OK(taskmet_predictor_load(path, &loaded));
            if (loaded != NULL) {
                compare_predictors(p, loaded);
                CHECK_OK(taskmet_predictor_save(loaded, path));
                CHECK_OK(taskmet_predictor_load(path, &again));
                if (again != NULL) compare_predictors(p, again);
            }
            taskmet_predictor_destroy(p), taskmet_predictor_destroy(loaded), taskmet_predictor_destroy(again);
        }
}

/* What a linear predictor can and a network cannot is still known after loading. */
static void test_loaded_kind(void) {
    taskmet_metric *metric = make_constant(10, N, TASKMET_STRUCTURE_DIAGONAL, 0);
    taskmet_inner_options exact;
    taskmet_inner_options_init(&exact);
    exact.solver = TASKMET_INNER_EXACT;
    for (int kind = 0; kind < 3; kind += 1) {
        taskmet_predictor *p = new_predictor(kind), *loaded = NULL;
        CHECK_OK(taskmet_predictor_save(p, path));
        NEED(taskmet_predictor_load(path, &loaded));
        CHECK_STATUS(taskmet_loss_minimize(loaded, metric, data, 0.1, &exact, NULL, NULL),
                     kind < 2 ? TASKMET_OK : TASKMET_ERROR_UNSUPPORTED, NULL);
        taskmet_predictor_destroy(p), taskmet_predictor_destroy(loaded);
    }
    taskmet_metric_destroy(metric);
}

static void compare_metrics(const taskmet_metric *a, const taskmet_metric *b, int conditional) {
    int64_t ia = 0, ib = 0, oa = 0, ob = 0, na = 0, nb = 0;
    double ea[ALL], eb[ALL], sa = 0, sb = 0, la = 0, lb = 0;
    const double *features = conditional ? x : NULL;
    const int64_t stride = conditional ? D : 0;
    CHECK_OK(taskmet_metric_shape(a, &ia, &oa, &na));
    CHECK_OK(taskmet_metric_shape(b, &ib, &ob, &nb));
    CHECK(ia == ib && oa == ob && na == nb);
    if (na != nb) return;
    double *pa = metric_parameters(a), *pb = metric_parameters(b);
    CHECK_SAME_BITS(pb, pa, na);
    CHECK_OK(taskmet_metric_get_normalization_scale(a, &sa));
    CHECK_OK(taskmet_metric_get_normalization_scale(b, &sb));
    CHECK_SAME_BITS(&sb, &sa, 1);
    CHECK_OK(taskmet_metric_evaluate(a, ROWS, features, stride, ea, ALL));
    CHECK_OK(taskmet_metric_evaluate(b, ROWS, features, stride, eb, ALL));
    CHECK_SAME_BITS(eb, ea, ALL);
    CHECK_OK(taskmet_metric_regularizer(a, ROWS, features, stride, 0.5, 2, &la, pa, na));
    CHECK_OK(taskmet_metric_regularizer(b, ROWS, features, stride, 0.5, 2, &lb, pb, na));
    CHECK_SAME_BITS(&lb, &la, 1);
    CHECK_SAME_BITS(pb, pa, na);
    taskmet_predictor *p = make_mlp(11, D, N, 4);
    CHECK_OK(taskmet_loss_value(p, a, data, 0.1, &la));
    CHECK_OK(taskmet_loss_value(p, b, data, 0.1, &lb));
    CHECK_SAME_BITS(&lb, &la, 1);
    taskmet_predictor_destroy(p);
    free(pa), free(pb);
}

static void test_metric(int conditional, taskmet_structure structure, taskmet_normalization normalization, int settings) {
    taskmet_metric *m = conditional ? make_conditional(12, D, N, structure, RANK, 5)
                                    : make_constant(12, N, structure, RANK);
    taskmet_metric *loaded = NULL;
    if (settings) CHECK_OK(taskmet_metric_set_floor(m, 0.1 / 3));
    if (settings && conditional) CHECK_OK(taskmet_metric_set_standardization(m, input_mean, input_scale, D));
    CHECK_OK(taskmet_metric_set_normalization(m, normalization));
    if (normalization == TASKMET_NORMALIZATION_BATCH_TRACE && settings)
        CHECK_OK(taskmet_metric_update_normalization(m, ROWS, conditional ? x : NULL, conditional ? D : 0));
    CHECK_OK(taskmet_metric_save(m, path));
    CHECK_OK(taskmet_metric_load(path, &loaded));
    if (loaded != NULL) {
        compare_metrics(m, loaded, conditional);
        /* The normalisation came along, not only its result: the scale can be asked for again, or it cannot. */
        CHECK_STATUS(taskmet_metric_update_normalization(loaded, ROWS, conditional ? x : NULL, conditional ? D : 0),
                     normalization == TASKMET_NORMALIZATION_BATCH_TRACE ? TASKMET_OK : TASKMET_ERROR_STATE, NULL);
    }
    taskmet_metric_destroy(m), taskmet_metric_destroy(loaded);
}

static void test_metrics(void) {
    for (int conditional = 0; conditional < 2; conditional += 1)
        for (taskmet_structure structure = TASKMET_STRUCTURE_SCALAR; structure <= TASKMET_STRUCTURE_FULL; structure += 1)
            for (taskmet_normalization kind = TASKMET_NORMALIZATION_NONE; kind <= TASKMET_NORMALIZATION_BATCH_TRACE;
                 kind += 1) {
                const int per_row = kind == TASKMET_NORMALIZATION_FROBENIUS || kind == TASKMET_NORMALIZATION_TRACE;
                if (per_row && structure == TASKMET_STRUCTURE_SCALAR) continue;
                test_metric(conditional, structure, kind, 0);
                test_metric(conditional, structure, kind, 1);
            }
}

/* Numbers at the edges of double come back with their bits. */
static void test_extreme_numbers(void) {
    static const double values[] = {5e-324, -0.0, 1.7976931348623157e308, -2.2250738585072014e-308, 0.1, 1.0 / 3};
    taskmet_predictor *p = NULL, *loaded = NULL;
    double back[6] = {0};
    NEED(taskmet_predictor_create_linear(2, 2, 1, &p));
    CHECK_OK(taskmet_predictor_set_parameters(p, values, 6));
    CHECK_OK(taskmet_predictor_save(p, path));
    CHECK_OK(taskmet_predictor_load(path, &loaded));
    CHECK_OK(taskmet_predictor_get_parameters(loaded, back, 6));
    CHECK_SAME_BITS(back, values, 6);
    taskmet_predictor_destroy(p), taskmet_predictor_destroy(loaded);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The file itself                                                                                                  */

typedef struct model_file {
    unsigned char bytes[1 << 16];
    size_t size, header;
    char *json;
} model_file;

static void read_file(model_file *f) {
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) abort();
    f->size = fread(f->bytes, 1, sizeof f->bytes, stream);
    fclose(stream);
    uint64_t length = 0;
    for (int k = 7; k >= 0; k -= 1) length = length << 8 | f->bytes[k];
    CHECK(f->size > 8 && length <= f->size - 8);
    f->header = length <= f->size - 8 ? (size_t)length : 0;
    f->json = need_memory(f->header + 1);
    memcpy(f->json, f->bytes + 8, f->header);
}

/* Finds "name":{...} in the header, and in it "data_offsets":[a,b]; the tensor's first byte, or NULL. */
static const unsigned char *find_tensor(const model_file *f, const char *name, size_t *size) {
    char key[128];
    snprintf(key, sizeof key, "\"%s\"", name);
    const char *at = strstr(f->json, key);
    const char *offsets = at == NULL ? NULL : strstr(at, "\"data_offsets\"");
    const char *type = at == NULL ? NULL : strstr(at, "\"F64\"");
    unsigned long first = 0, last = 0;
    check_that(offsets != NULL && type != NULL, __FILE__, __LINE__, "no tensor %s of F64 in %s", name, f->json);
    if (offsets == NULL) return NULL;
    while (*offsets != 0 && *offsets != '[') offsets += 1;
    const int found = sscanf(offsets, "[ %lu , %lu ]", &first, &last);
    check_that(found == 2 && first <= last && 8 + f->header + last <= f->size, __FILE__, __LINE__,
               "tensor %s: offsets %lu, %lu of a file of %lu bytes", name, first, last, (unsigned long)f->size);
    *size = last - first;
    return found == 2 ? f->bytes + 8 + f->header + first : NULL;
}

static void check_tensor(const model_file *f, const char *name, const double *expected, int64_t count) {
    size_t size = 0;
    const unsigned char *bytes = find_tensor(f, name, &size);
    if (bytes == NULL) return;
    check_that(size == (size_t)count * sizeof(double), __FILE__, __LINE__, "tensor %s has %lu bytes", name,
               (unsigned long)size);
    if (size == (size_t)count * sizeof(double))
        check_that(memcmp(bytes, expected, size) == 0, __FILE__, __LINE__, "tensor %s has other numbers", name);
}

/* The tensors of the header's comments, with the parameters' bits (this machine is little-endian, like the format). */
static void test_tensors(void) {
    static model_file file;
    taskmet_predictor *p = make_mlp(13, D, N, 5);
    taskmet_metric *m = make_constant(14, N, TASKMET_STRUCTURE_FULL, 0);
    double *theta = predictor_parameters(p), *phi = metric_parameters(m);
    CHECK_OK(taskmet_predictor_save(p, path));
    read_file(&file);
    check_tensor(&file, "layers.0.weight", theta, 5 * D);
    check_tensor(&file, "layers.0.bias", theta + 5 * D, 5);
    check_tensor(&file, "layers.1.weight", theta + 5 * D + 5, N * 5);
    check_tensor(&file, "layers.1.bias", theta + 5 * D + 5 + N * 5, N);
    CHECK(strstr(file.json, "\"__metadata__\"") != NULL);
    CHECK(file.json[0] == '{');
    free(file.json);
    CHECK_OK(taskmet_metric_save(m, path));
    read_file(&file);
    check_tensor(&file, "factor", phi, N * N);
    check_tensor(&file, "s", phi + N * N, 1);
    free(file.json);
    free(theta), free(phi);
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
}

/* What a process that was killed has left, by chance of the same number, is not in the way. First of all: the names are
 * counted. */
static void test_stale_temporary_files(void) {
    enum { STALE = 3 };
    char names[STALE][PATH_SIZE + 64];
    taskmet_predictor *p = make_linear(1, D, N), *loaded = NULL;
    for (int k = 0; k < STALE; k += 1) {
        snprintf(names[k], sizeof names[k], "%s.%ld.%d.tmp", path, (long)getpid(), k + 1);
        FILE *file = fopen(names[k], "w");
        if (file == NULL) abort();
        fclose(file);
    }
    CHECK_OK(taskmet_predictor_save(p, path));
    CHECK_OK(taskmet_predictor_load(path, &loaded));
    for (int k = 0; k < STALE; k += 1) CHECK(unlink(names[k]) == 0);
    taskmet_predictor_destroy(p), taskmet_predictor_destroy(loaded);
}

/* A FIFO that nobody writes to is refused, and not waited for. */
static void test_fifo(void) {
    char fifo[PATH_SIZE + 8];
    taskmet_predictor *p = NULL;
    taskmet_metric *m = NULL;
    snprintf(fifo, sizeof fifo, "%s.fifo", path);
    if (mkfifo(fifo, 0600) != 0) abort();
    alarm(60);
    CHECK_STATUS(taskmet_predictor_load(fifo, &p), TASKMET_ERROR_IO, "not a regular file");
    CHECK_STATUS(taskmet_metric_load(fifo, &m), TASKMET_ERROR_IO, "not a regular file");
    alarm(0);
    unlink(fifo);
}

/* As many hidden layers as there may be. */
static void test_deepest_network(void) {
    enum { LAYERS = 1000 };
    int64_t hidden[LAYERS];
    taskmet_predictor *p = NULL, *loaded = NULL;
    for (int k = 0; k < LAYERS; k += 1) hidden[k] = 1;
    NEED(taskmet_predictor_create_mlp(D, N, LAYERS, hidden, TASKMET_ACTIVATION_TANH, TASKMET_ACTIVATION_IDENTITY, 1,
                                      &p));
    CHECK_OK(taskmet_predictor_save(p, path));
    CHECK_OK(taskmet_predictor_load(path, &loaded));
    if (loaded != NULL) compare_predictors(p, loaded);
    taskmet_predictor_destroy(p), taskmet_predictor_destroy(loaded);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_directory();
    test_stale_temporary_files();
    random_fill(1, x, ROWS * D);
    double y[ROWS * N];
    random_fill(2, y, ROWS * N);
    NEED(taskmet_dataset_create(ROWS, D, x, D, N, y, N, &data));
    test_predictors();
    test_loaded_kind();
    test_metrics();
    test_extreme_numbers();
    test_tensors();
    test_fifo();
    if (!check_quick) test_deepest_network();
    taskmet_dataset_destroy(data);
    remove(path);
    CHECK(rmdir(directory) == 0);
    return check_end();
}
