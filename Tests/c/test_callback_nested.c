/*
 * test_callback_nested.c - calls into the library from inside a callback, and who is told when an object is gone.
 */
#include "user_predictor.h"

enum { ROWS = 7, D = 3, N = 2 };

typedef struct scene {
    double x[ROWS * D], y[ROWS * N], ones[64];
    taskmet_dataset *data, *other_data;
    taskmet_predictor *user, *other; /* other: built in, not in use */
    taskmet_metric *metric, *other_metric;
    taskmet_workspace *workspace;
    int done; /* how often something was done inside a callback */
} scene;

static scene S;
static user_predictor model;

static void make_scene(void) {
    random_fill(1, S.x, ROWS * D);
    random_fill(2, S.y, ROWS * N);
    for (int k = 0; k < 64; k += 1) S.ones[k] = 1;
    NEED(taskmet_dataset_create(ROWS, D, S.x, D, N, S.y, N, &S.data));
    S.other_data = make_dataset(3, ROWS, D, N);
    model = user_model(D, N, 4);
    S.user = make_user_predictor(&model, S.ones);
    S.other = make_linear(4, D, N);
    S.metric = make_conditional(5, D, N, TASKMET_STRUCTURE_DIAGONAL, 0, 3);
    S.other_metric = make_constant(6, N, TASKMET_STRUCTURE_FULL, 0);
    NEED(taskmet_workspace_create(1, 0, &S.workspace));
    model.context = &S;
}

static void destroy_scene(void) {
    taskmet_dataset_destroy(S.data);
    taskmet_dataset_destroy(S.other_data);
    taskmet_predictor_destroy(S.user);
    taskmet_predictor_destroy(S.other);
    taskmet_metric_destroy(S.metric);
    taskmet_metric_destroy(S.other_metric);
    taskmet_workspace_destroy(S.workspace);
}

/* A call whose callback does something, and which succeeds all the same. */
static void run_loss(void (*inside)(user_predictor *), taskmet_workspace *workspace) {
    double value = 0, gradient[64];
    const int before = S.done;
    model.inside = inside;
    CHECK_OK(taskmet_loss_value_gradient(S.user, S.metric, S.data, 0.1, workspace, &value, gradient,
                                         user_count(&model)));
    CHECK(S.done == before + 1);
    CHECK(isfinite(value));
}

static void write_to_objects_in_use(user_predictor *self) {
    static const int64_t offsets[] = {0, 3, ROWS};
    double *metric = metric_parameters(S.metric);
    const int64_t count = user_count(self), size = metric_count(S.metric);
    CHECK_STATUS(taskmet_predictor_set_parameters(S.user, S.ones, count), TASKMET_ERROR_BUSY, "predictor");
    CHECK_STATUS(taskmet_loss_minimize(S.user, S.metric, S.other_data, 0.1, NULL, NULL, NULL), TASKMET_ERROR_BUSY,
                 "predictor");
    CHECK_STATUS(taskmet_metric_set_parameters(S.metric, metric, size), TASKMET_ERROR_BUSY, "metric");
    CHECK_STATUS(taskmet_metric_set_floor(S.metric, 0.2), TASKMET_ERROR_BUSY, "metric");
    CHECK_STATUS(taskmet_metric_set_normalization(S.metric, TASKMET_NORMALIZATION_TRACE), TASKMET_ERROR_BUSY,
                 "metric");
    CHECK_STATUS(taskmet_metric_set_standardization(S.metric, S.ones, S.ones, D), TASKMET_ERROR_BUSY, "metric");
    CHECK_STATUS(taskmet_dataset_set_weights(S.data, S.ones, ROWS), TASKMET_ERROR_BUSY, "dataset");
    CHECK_STATUS(taskmet_dataset_set_instances(S.data, 2, offsets), TASKMET_ERROR_BUSY, "dataset");
    CHECK_STATUS(taskmet_dataset_refill(S.data, ROWS, S.x, D, S.y, N, NULL, 0), TASKMET_ERROR_BUSY, "dataset");
    free(metric);
    S.done += 1;
}

static void read_objects_in_use(user_predictor *self) {
    double *theta = predictor_parameters(S.user), *phi = metric_parameters(S.metric), out[ROWS * N * N];
    CHECK_SAME_BITS(theta, S.ones, user_count(self));
    CHECK_OK(taskmet_predictor_shape(S.user, NULL, NULL, NULL));
    CHECK_OK(taskmet_metric_evaluate(S.metric, ROWS, S.x, D, out, ROWS * N * N));
    CHECK_OK(taskmet_dataset_shape(S.data, NULL, NULL, NULL, NULL));
    /* Its own predictions too: the callback is called again, from inside itself. */
    CHECK_OK(taskmet_predictor_predict(S.user, ROWS, S.x, D, out, N));
    taskmet_predictor *copy = NULL;
    CHECK_OK(taskmet_predictor_copy(S.user, &copy));
    CHECK_OK(taskmet_predictor_set_parameters(copy, theta, user_count(self)));
    taskmet_predictor_destroy(copy);
    free(theta), free(phi);
    S.done += 1;
}

static void use_other_objects(user_predictor *self) {
    double value = 0, *phi = metric_parameters(S.other_metric);
    (void)self;
    CHECK_OK(taskmet_predictor_set_parameters(S.other, S.ones, predictor_count(S.other)));
    CHECK_OK(taskmet_metric_set_parameters(S.other_metric, phi, metric_count(S.other_metric)));
    CHECK_OK(taskmet_dataset_set_weights(S.other_data, S.ones, ROWS));
    CHECK_OK(taskmet_loss_minimize(S.other, S.other_metric, S.other_data, 0.1, NULL, NULL, NULL));
    CHECK_OK(taskmet_loss_value(S.other, S.metric, S.data, 0.1, &value)); /* shares two that are being read */
    taskmet_dataset *made = make_dataset(8, 2, D, N);
    taskmet_dataset_destroy(made);
    free(phi);
    S.done += 1;
}

static void use_workspace_in_use(user_predictor *self) {
    double value = 0, gradient[D * N + N];
    (void)self;
    CHECK_STATUS(taskmet_loss_value_gradient(S.other, S.other_metric, S.other_data, 0.1, S.workspace, &value, gradient,
                                             D * N + N),
                 TASKMET_ERROR_BUSY, "workspace");
    CHECK_OK(taskmet_loss_value_gradient(S.other, S.other_metric, S.other_data, 0.1, NULL, &value, gradient, D * N + N));
    S.done += 1;
}

/* While theta is searched for, the predictor is being written: nobody else may write it. */
static void write_during_minimization(user_predictor *self) {
    CHECK_STATUS(taskmet_predictor_set_parameters(S.user, S.ones, user_count(self)), TASKMET_ERROR_BUSY, "predictor");
    S.done += 1;
}

static void test_nested_calls(void) {
    run_loss(write_to_objects_in_use, NULL);
    run_loss(read_objects_in_use, NULL);
    run_loss(use_other_objects, NULL);
    run_loss(use_workspace_in_use, S.workspace);
    model.inside = write_during_minimization;
    const int before = S.done;
    CHECK_OK(taskmet_loss_minimize(S.user, S.metric, S.data, 0.1, NULL, NULL, NULL));
    CHECK(S.done == before + 1);
    /* Nothing of all this stays locked. */
    CHECK_OK(taskmet_predictor_set_parameters(S.user, S.ones, user_count(&model)));
    CHECK_OK(taskmet_dataset_set_weights(S.data, S.ones, ROWS));
    CHECK_OK(taskmet_metric_set_floor(S.metric, 0));
}

/* A failed call gives its locks back as well. */
static void test_locks_after_failure(void) {
    double out[ROWS * N];
    model.failing = USER_FORWARD;
    model.how = TASKMET_CALLBACK_ERROR;
    CHECK_STATUS(taskmet_predictor_predict(S.user, ROWS, S.x, D, out, N), TASKMET_ERROR_CALLBACK, "forward");
    CHECK_STATUS(taskmet_loss_minimize(S.user, S.metric, S.data, 0.1, NULL, S.workspace, NULL), TASKMET_ERROR_CALLBACK,
                 "forward");
    model.failing = -1;
    CHECK_OK(taskmet_predictor_set_parameters(S.user, S.ones, user_count(&model)));
    CHECK_OK(taskmet_metric_set_floor(S.metric, 0));
    CHECK_OK(taskmet_dataset_set_weights(S.data, S.ones, ROWS));
    run_loss(read_objects_in_use, S.workspace);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The end of objects                                                                                               */

static void count_release(void *owner) { *(int *)owner += 1; }

/* A call that is going on holds its objects: destroying them inside it comes into effect when it is over. */
static int released_inside;

static void destroy_everything_inside(user_predictor *self) {
    scene *s = self->context;
    taskmet_dataset_destroy(s->data);
    taskmet_metric_destroy(s->metric);
    taskmet_predictor_destroy(s->user);
    CHECK(self->freed == 0 && released_inside == 0);
    s->done += 1;
}

static void test_destroy_inside(void) {
    scene own;
    memset(&own, 0, sizeof own);
    user_predictor u = user_model(D, N, 4);
    double value = 0, expected = 0;
    own.user = make_user_predictor(&u, S.ones);
    own.metric = make_conditional(5, D, N, TASKMET_STRUCTURE_DIAGONAL, 0, 3);
    NEED(taskmet_dataset_borrow(ROWS, D, S.x, D, N, S.y, N, count_release, &released_inside, &own.data));
    CHECK_OK(taskmet_loss_value(own.user, own.metric, own.data, 0.1, &expected));
    u.context = &own;
    u.inside = destroy_everything_inside;
    CHECK_OK(taskmet_loss_value(own.user, own.metric, own.data, 0.1, &value));
    CHECK(own.done == 1);
    CHECK_SAME_BITS(&value, &expected, 1);
    CHECK(u.freed == 1 && released_inside == 1);
    CHECK_STATUS(taskmet_loss_value(own.user, S.metric, S.data, 0.1, &value), TASKMET_ERROR_INVALID_ARGUMENT,
                 "predictor");
    CHECK_STATUS(taskmet_loss_value(S.user, own.metric, S.data, 0.1, &value), TASKMET_ERROR_INVALID_ARGUMENT, "metric");
    CHECK_STATUS(taskmet_loss_value(S.user, S.metric, own.data, 0.1, &value), TASKMET_ERROR_INVALID_ARGUMENT,
                 "dataset");
}

static void test_predictor_destructor(void) {
    user_predictor u = user_model(D, N, 0);
    taskmet_predictor *first = make_user_predictor(&u, NULL), *second = NULL, *third = NULL;
    CHECK_OK(taskmet_predictor_copy(first, &second));
    CHECK_OK(taskmet_predictor_copy(second, &third));
    taskmet_predictor_destroy(first);
    CHECK(u.freed == 0);
    taskmet_predictor_destroy(third);
    CHECK(u.freed == 0);
    double out[N];
    CHECK_OK(taskmet_predictor_predict(second, 1, S.x, D, out, N)); /* the copies share user */
    taskmet_predictor_destroy(second);
    CHECK(u.freed == 1);
    /* Not called where nothing was made; NULL is no destructor. */
    taskmet_predictor_callbacks callbacks = user_callbacks();
    taskmet_predictor *none = NULL;
    callbacks.vjp = NULL;
    CHECK_STATUS(taskmet_predictor_create_callback(D, N, NULL, 8, &callbacks, &u, user_free, &none),
                 TASKMET_ERROR_INVALID_ARGUMENT, "vjp");
    CHECK(none == NULL && u.freed == 1);
    callbacks = user_callbacks();
    CHECK_OK(taskmet_predictor_create_callback(D, N, NULL, 8, &callbacks, &u, NULL, &none));
    taskmet_predictor_destroy(none);
    CHECK(u.freed == 1);
}

static int32_t zero_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    (void)user;
    *loss = 0;
    for (int64_t k = 0; gradient != NULL && k < batch->rows * batch->outputs; k += 1) gradient[k] = 0;
    return TASKMET_CALLBACK_OK;
}

/* A task in whose callback the task and its dataset are destroyed. */
typedef struct ending {
    taskmet_task *task;
    taskmet_dataset *data;
    int freed, released, calls;
} ending;

static void count_free(void *user) { ((ending *)user)->freed += 1; }

static int32_t ending_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    ending *e = user;
    taskmet_task_destroy(e->task);
    taskmet_dataset_destroy(e->data);
    CHECK(e->freed == 0 && e->released == 0);
    CHECK_SAME_BITS(batch->inputs, S.x, ROWS * D);
    CHECK_SAME_BITS(batch->targets, S.y, ROWS * N);
    e->calls += 1;
    return zero_task(user, batch, loss, gradient);
}

static void test_task_destructor(void) {
    ending e;
    memset(&e, 0, sizeof e);
    taskmet_task *task = NULL;
    CHECK_STATUS(taskmet_task_create_callback(NULL, &e, count_free, &task), TASKMET_ERROR_INVALID_ARGUMENT, "fn");
    CHECK(task == NULL && e.freed == 0);
    CHECK_OK(taskmet_task_create_callback(zero_task, &e, count_free, &task));
    CHECK(e.freed == 0);
    taskmet_task_destroy(task);
    CHECK(e.freed == 1);
    e.freed = 0;
    CHECK_OK(taskmet_task_create_callback(ending_task, &e, count_free, &e.task));
    CHECK_OK(taskmet_dataset_borrow(ROWS, D, S.x, D, N, S.y, N, count_release, &e.released, &e.data));
    double loss = 1, gradient[ROWS * N];
    CHECK_OK(taskmet_task_gradient(e.task, e.data, TASKMET_PHASE_TRAINING, S.ones, N, &loss, gradient, N));
    CHECK(e.calls == 1 && loss == 0);
    CHECK(e.freed == 1 && e.released == 1);
}

static void test_borrowed(void) {
    int released = 0;
    double x[ROWS * D], value = 0, expected = 0;
    taskmet_dataset *data = NULL;
    memcpy(x, S.x, sizeof x);
    x[ROWS * D - 1] = (double)NAN;
    CHECK_STATUS(taskmet_dataset_borrow(ROWS, D, x, D, N, S.y, N, count_release, &released, &data),
                 TASKMET_ERROR_INVALID_ARGUMENT, "x");
    CHECK(data == NULL && released == 0);
    CHECK_OK(taskmet_dataset_borrow(ROWS, D, S.x, D, N, S.y, N, count_release, &released, &data));
    CHECK_OK(taskmet_loss_value(S.other, S.metric, data, 0.1, &value));
    CHECK_OK(taskmet_loss_value(S.other, S.metric, S.data, 0.1, &expected));
    CHECK_SAME_BITS(&value, &expected, 1);
    CHECK_STATUS(taskmet_dataset_refill(data, ROWS, S.x, D, S.y, N, NULL, 0), TASKMET_ERROR_STATE, "refill: ");
    CHECK_OK(taskmet_dataset_set_weights(data, S.ones, ROWS)); /* the weights are the dataset's own */
    /* A workspace that has seen it does not keep it. */
    double gradient[64];
    CHECK_OK(taskmet_loss_value_gradient(S.user, S.metric, data, 0.1, S.workspace, &value, gradient,
                                         user_count(&model)));
    CHECK(released == 0);
    taskmet_dataset_destroy(data);
    CHECK(released == 1);
    taskmet_dataset_destroy(data);
    CHECK(released == 1);
    CHECK_OK(taskmet_dataset_borrow(ROWS, D, S.x, D, N, S.y, N, NULL, NULL, &data)); /* nobody wants to know */
    taskmet_dataset_destroy(data);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_scene();
    test_nested_calls();
    test_locks_after_failure();
    test_destroy_inside();
    test_predictor_destructor();
    test_task_destructor();
    test_borrowed();
    destroy_scene();
    CHECK(model.freed == 1);
    return check_end();
}
