/*
 * test_streaming_files.c - .npy files that are none, or not what they say, or change: each is refused with a message that
 * names the argument, the file and the fault, and none can harm the process.
 */
#include "streaming.h"

#include <sys/stat.h>

enum { N = 5, D = 3 };

/* Of the files, but for those that are to be wrong. */
static taskmet_precision precision;
static file_pair paths;
static double numbers[N * D];
static const double targets[N] = {1, 2, 3, 4, 5};

/* A text with the present precision's type in place of <f8, until the next call. */
static const char *in_own_type(const char *text) {
    static char result[256];
    snprintf(result, sizeof result, "%s", text);
    for (char *at = result; precision == TASKMET_FLOAT32 && (at = strstr(at, "<f8")) != NULL;) at[2] = '4';
    return result;
}

#define GOOD "{'descr': '<f8', 'fortran_order': False, 'shape': (5, 3), }"

/* The features' file is refused, with this text. */
static void refuse(taskmet_status expected, const char *text) {
    taskmet_dataset *dataset = (taskmet_dataset *)&paths;
    CHECK_STATUS(taskmet_dataset_create_from_files(paths.x, paths.y, &dataset), expected,
                 text == NULL ? NULL : in_own_type(text));
    CHECK(dataset == (taskmet_dataset *)&paths);
    const char *message = taskmet_last_error();
    CHECK(strstr(message, "dataset_create_from_files: x_path: ") == message);
    CHECK(strstr(message, paths.x) != NULL);
}

static taskmet_predictor *own_predictor(void) {
    taskmet_predictor *wide = make_linear(1, D, 1), *result = NULL;
    NEED(taskmet_predictor_convert(wide, precision, &result));
    taskmet_predictor_destroy(wide);
    return result;
}

static taskmet_metric *own_metric(void) {
    taskmet_metric *wide = make_constant(1, 1, TASKMET_STRUCTURE_SCALAR, 1), *result = NULL;
    NEED(taskmet_metric_convert(wide, precision, &result));
    taskmet_metric_destroy(wide);
    return result;
}

/* The features' file is taken, and its numbers are the expected ones: the loss of zero predictions of zero targets, weighted
 * by features, does not tell them apart, so a prediction does. */
static void accept(void) {
    taskmet_dataset *streamed = NULL;
    double got[D + 1], expected[D + 1];
    if (!CHECK_OK(taskmet_dataset_create_from_files(paths.x, paths.y, &streamed))) return;
    taskmet_dataset *memory = make_in_memory(precision, N, D, numbers, 1, targets);
    taskmet_predictor *predictor = own_predictor();
    taskmet_metric *metric = own_metric();
    CHECK_OK(taskmet_loss_gradient(predictor, metric, streamed, 0, got, D + 1));
    CHECK_OK(taskmet_loss_gradient(predictor, metric, memory, 0, expected, D + 1));
    CHECK_SAME_BITS(got, expected, D + 1);
    taskmet_metric_destroy(metric), taskmet_predictor_destroy(predictor);
    taskmet_dataset_destroy(streamed), taskmet_dataset_destroy(memory);
}

static void write_header(int version, const char *dictionary) {
    void *data = copy_numbers(precision, numbers, N * D);
    write_npy(paths.x, version, in_own_type(dictionary), data, N * D * number_size(precision));
    free(data);
}

static void test_headers(void) {
    static const struct {
        const char *dictionary, *text; /* text NULL: is taken */
    } cases[] = {
        {GOOD, NULL},
        {"{\"shape\":(5,3),\"fortran_order\":False,\"descr\":\"<f8\"}", NULL},
        {"  {'descr' : '<f8' , 'fortran_order' : False , 'shape' : ( 5 , 3 , ) , }  ", NULL},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (5, 3), }", "has descr >f4"},
        {"{'descr': '<f2', 'fortran_order': False, 'shape': (5, 3), }", "has descr <f2"},
        {"{'descr': '<f16', 'fortran_order': False, 'shape': (5, 3), }", "has descr <f16"},
        {"{'descr': '>f8', 'fortran_order': False, 'shape': (5, 3), }", "has descr >f8"},
        {"{'descr': '<i8', 'fortran_order': False, 'shape': (5, 3), }", "has descr <i8"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (5, 3), }", "has descr |O"},
        {"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (5, 3), }", "has descr of another kind"},
        {"{'descr': '<f8', 'fortran_order': True, 'shape': (5, 3), }", "fortran_order False"},
        {"{'descr': '<f8', 'fortran_order': 0, 'shape': (5, 3), }", "fortran_order False"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (15,), }", "shape (15,), and must have two dimensions"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (), }", "shape ()"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (5, 3, 1), }", "shape (5, 3, 1)"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 3), }", "every size must be 1 to"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (5, 0), }", "every size must be 1 to"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2147483648, 3), }", "every size must be 1 to"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2147483647, 2147483647), }", "larger than any file"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999, 3), }", "no tuple of sizes"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (-5, 3), }", "no tuple of sizes"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (5 3), }", "no tuple of sizes"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': [5, 3], }", "no tuple of sizes"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (5, 3", "no tuple of sizes"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (5, 3)", "does not go on after 'shape'"},
        {"{'descr': '<f8' 'fortran_order': False, 'shape': (5, 3), }", "does not go on after 'descr'"},
        {"{'descr': '<f8', 'fortran_order': False, }", "has no 'shape'"},
        {"{'descr': '<f8', 'shape': (5, 3), }", "has no 'fortran_order'"},
        {"{'fortran_order': False, 'shape': (5, 3), }", "has no 'descr'"},
        {"{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (5, 3), }", "entry 2 is no new"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (5, 3), 'extra': 1}", "unknown entry 'extra'"},
        {"{'descr': '<f8, 'fortran_order': False, 'shape': (5, 3), }", "has descr <f8, "},
        {"{'descr': '<f\\x38', 'fortran_order': False, 'shape': (5, 3), }", "has descr of another kind"},
        {"{'descr", "entry 1 is no new"},
        {"{'descr'", "entry 1 is no new"},
        {"{", "entry 1 is no new"},
        {"{}", "has no 'descr'"},
        {"[]", "no dictionary"},
        {"", "no dictionary"},
        {GOOD " x", "goes on after its dictionary"},
        {GOOD "{}", "goes on after its dictionary"},
    };
    for (int version = 1; version <= 2; version += 1)
        for (size_t k = 0; k < LENGTH(cases); k += 1) {
            write_header(version, cases[k].dictionary);
            if (cases[k].text == NULL) accept();
            else refuse(TASKMET_ERROR_FORMAT, cases[k].text);
        }
    write_header(3, GOOD);
    refuse(TASKMET_ERROR_FORMAT, "version 3.0");
    write_header(0, GOOD);
    refuse(TASKMET_ERROR_FORMAT, "version 0.0");
}

/* A shape, or a type, that makes other bytes than the file has. */
static void test_sizes(void) {
    const int size = (int)number_size(precision);
    for (int columns = 2; columns <= 4; columns += 1)
        for (int type = 4; type <= 8; type += 4) {
            char dictionary[128], text[128];
            void *data = copy_numbers(precision, numbers, N * D);
            snprintf(dictionary, sizeof dictionary, "{'descr': '<f%d', 'fortran_order': False, 'shape': (5, %d), }",
                     type, columns);
            snprintf(text, sizeof text, "holds %d bytes of data, and its shape (5, %d) is %d", N * D * size, columns,
                     N * columns * type);
            write_npy(paths.x, 1, dictionary, data, (size_t)(N * D * size));
            if (columns == D && type == size) accept();
            else refuse(TASKMET_ERROR_FORMAT, text);
            free(data);
        }
}

/* One file of each type: both are named. */
static void test_mixed(void) {
    const taskmet_precision other = precision == TASKMET_FLOAT32 ? TASKMET_FLOAT64 : TASKMET_FLOAT32;
    char text[400];
    save_npy(paths.x, precision, numbers, N, D);
    save_npy(paths.y, other, targets, N, 0);
    snprintf(text, sizeof text, "x_path: %s holds %s, y_path: %s holds %s; both must hold the same", paths.x,
             precision == TASKMET_FLOAT32 ? "float32 ('<f4')" : "float64 ('<f8')", paths.y,
             other == TASKMET_FLOAT32 ? "float32 ('<f4')" : "float64 ('<f8')");
    taskmet_dataset *dataset = NULL;
    CHECK_STATUS(taskmet_dataset_create_from_files(paths.x, paths.y, &dataset), TASKMET_ERROR_FORMAT, text);
    /* The types come before the numbers of rows. */
    save_npy(paths.y, other, targets, N - 1, 0);
    CHECK_STATUS(taskmet_dataset_create_from_files(paths.x, paths.y, &dataset), TASKMET_ERROR_FORMAT, text);
    CHECK(dataset == NULL);
    save_npy(paths.y, precision, targets, N, 0);
}

/* One byte of the file is another. */
static void poke(long place, int value) {
    FILE *file = fopen(paths.x, "r+b");
    if (file == NULL || fseek(file, place, SEEK_SET) != 0) abort();
    fputc(value, file);
    fclose(file);
}

static void test_bytes(void) {
    write_header(1, GOOD);
    poke(1, 'M');
    refuse(TASKMET_ERROR_FORMAT, "no .npy file");
    write_header(1, GOOD);
    poke(7, 1);
    refuse(TASKMET_ERROR_FORMAT, "version 1.1");
    write_header(1, GOOD);
    poke(9, 0xFF);
    refuse(TASKMET_ERROR_FORMAT, "bytes in all");
    write_header(2, GOOD);
    poke(11, 0xFF);
    refuse(TASKMET_ERROR_FORMAT, "has a header of");
    write_header(1, GOOD);
    poke(60, 0);
    refuse(TASKMET_ERROR_FORMAT, NULL);
    /* Every shorter file, and a longer one. */
    write_header(1, GOOD);
    struct stat information;
    if (stat(paths.x, &information) != 0) abort();
    for (long size = (long)information.st_size - 1; size >= 0; size -= 1) {
        if (truncate(paths.x, size) != 0) abort();
        refuse(TASKMET_ERROR_FORMAT, NULL);
    }
    write_header(1, GOOD);
    FILE *file = fopen(paths.x, "ab");
    fputc(0, file);
    fclose(file);
    char text[64];
    snprintf(text, sizeof text, "holds %d bytes", N * D * (int)number_size(precision) + 1);
    refuse(TASKMET_ERROR_FORMAT, text);
}

static void test_paths(void) {
    taskmet_dataset *dataset = NULL;
    char missing[128];
    snprintf(missing, sizeof missing, "%s.missing", paths.x);
    save_npy(paths.x, precision, numbers, N, D);
    CHECK_STATUS(taskmet_dataset_create_from_files(NULL, paths.y, &dataset), TASKMET_ERROR_INVALID_ARGUMENT, "x_path");
    CHECK_STATUS(taskmet_dataset_create_from_files(paths.x, NULL, &dataset), TASKMET_ERROR_INVALID_ARGUMENT, "y_path");
    CHECK_STATUS(taskmet_dataset_create_from_files(paths.x, "", &dataset), TASKMET_ERROR_INVALID_ARGUMENT, "y_path");
    CHECK_STATUS(taskmet_dataset_create_from_files("\xFF", paths.y, &dataset), TASKMET_ERROR_INVALID_ARGUMENT, "x_path");
    CHECK_STATUS(taskmet_dataset_create_from_files(paths.x, paths.y, NULL), TASKMET_ERROR_INVALID_ARGUMENT, "dataset");
    CHECK_STATUS(taskmet_dataset_create_from_files(missing, paths.y, &dataset), TASKMET_ERROR_IO, "x_path: cannot open");
    CHECK_STATUS(taskmet_dataset_create_from_files(paths.x, missing, &dataset), TASKMET_ERROR_IO, "y_path: cannot open");
    CHECK_STATUS(taskmet_dataset_create_from_files("/tmp", paths.y, &dataset), TASKMET_ERROR_IO, "x_path: /tmp");
    /* A FIFO that nobody writes to would wait for ever. */
    if (mkfifo(missing, 0600) != 0) abort();
    CHECK_STATUS(taskmet_dataset_create_from_files(paths.x, missing, &dataset), TASKMET_ERROR_IO, "not a regular file");
    unlink(missing);
    /* Targets may be a vector; features may not. */
    save_npy(paths.y, precision, numbers, N - 1, 0);
    CHECK_STATUS(taskmet_dataset_create_from_files(paths.x, paths.y, &dataset), TASKMET_ERROR_SHAPE, "4 rows");
    save_npy(paths.y, precision, numbers, N, 2);
    NEED(taskmet_dataset_create_from_files(paths.x, paths.y, &dataset));
    int64_t sizes[4] = {0};
    CHECK_OK(taskmet_dataset_shape(dataset, &sizes[0], &sizes[1], &sizes[2], &sizes[3]));
    CHECK(sizes[0] == N && sizes[1] == D && sizes[2] == 2 && sizes[3] == N);
    taskmet_dataset_destroy(dataset);
    save_npy(paths.y, precision, numbers, N, 0);
}

/* What happens to a file while it is open: gone is harmless, shorter and not finite are errors of the call. */
static void test_changes(void) {
    taskmet_dataset *dataset = NULL;
    taskmet_predictor *predictor = own_predictor();
    taskmet_metric *metric = own_metric();
    double value = -7;
    save_npy(paths.x, precision, numbers, N, D);
    NEED(taskmet_dataset_create_from_files(paths.x, paths.y, &dataset));
    if (truncate(paths.x, 128 + (off_t)number_size(precision) * D) != 0) abort();
    CHECK_STATUS(taskmet_loss_value(predictor, metric, dataset, 0, &value), TASKMET_ERROR_IO, "became shorter");
    CHECK(value == -7 && strstr(taskmet_last_error(), "x_path") != NULL);
    taskmet_dataset_destroy(dataset);

    double broken[N * D];
    memcpy(broken, numbers, sizeof broken);
    broken[3 * D + 1] = (double)INFINITY;
    save_npy(paths.x, precision, broken, N, D);
    NEED(taskmet_dataset_create_from_files(paths.x, paths.y, &dataset));
    CHECK_STATUS(taskmet_loss_value(predictor, metric, dataset, 0, &value), TASKMET_ERROR_FORMAT,
                 "entry [3,1] must be finite, is inf");
    CHECK(value == -7);
    taskmet_dataset_destroy(dataset);

    save_npy(paths.x, precision, numbers, N, D);
    NEED(taskmet_dataset_create_from_files(paths.x, paths.y, &dataset));
    unlink(paths.x);
    CHECK_OK(taskmet_loss_value(predictor, metric, dataset, 0, &value));
    taskmet_dataset_destroy(dataset);
    taskmet_metric_destroy(metric), taskmet_predictor_destroy(predictor);
}

int main(int argc, char **argv) {
    static const taskmet_precision precisions[] = {TASKMET_FLOAT64, TASKMET_FLOAT32};
    check_begin(argc, argv);
    paths = name_files();
    for (size_t k = 0; k < LENGTH(precisions); k += 1) {
        precision = precisions[k];
        random_fill(1, numbers, N * D);
        round_numbers(precision, numbers, N * D);
        save_npy(paths.y, precision, targets, N, 0);
        test_headers();
        test_sizes();
        test_mixed();
        test_bytes();
        test_paths();
        test_changes();
    }
    remove_files(&paths);
    return check_end();
}
