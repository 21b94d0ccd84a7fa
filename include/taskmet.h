/*
 * taskmet.h - the C API of libtaskmet: task-driven metric learning by implicit differentiation.
 *
 * TaskMet (Bansal, Chen, Mukadam, Amos, NeurIPS 2023) trains a prediction model f_theta with a loss whose metric
 * Lambda_phi is itself learned, from the gradient of a downstream task:
 *
 *     e_i                = f_theta(x_i) - y_i                                    rows i = 1..N
 *     L_pred(theta, phi) = (1/N) sum_i s_i e_i' Lambda_phi(x_i) e_i + (rho/2) |theta|^2
 *     theta*(phi)        = argmin_theta L_pred(theta, phi)
 *     dL_task/dphi       = -d/dphi [ (2/N) sum_i s_i (J_i v)' Lambda_phi(x_i) e_i ],   (H + ridge I) v = sum_i J_i' c_i
 *
 * with H the Hessian of L_pred in theta, J_i = df_theta(x_i)/dtheta and c_i = dL_task/df_theta(x_i), which the caller's
 * own task gives.
 *
 * CONVENTIONS, for every function below
 *
 *   Status      A function that can fail returns a taskmet_status. TASKMET_OK is 0. Results come through pointers and are
 *               written only on success; on failure no object and no output has changed (a function that differs says so),
 *               and taskmet_last_error() names the argument and the value.
 *   Arrays      Reals are double; sizes, counts and strides int64_t. A matrix is row-major; its row stride is given in
 *               elements and is at least the row's length. After a vector pointer comes the vector's length, which must be
 *               the expected one. Outputs are overwritten, and must not overlap an input or another output.
 *               Inputs are copied, or read only until the function returns, unless the comment says "borrowed".
 *   Strings     UTF-8, terminated; paths are used as given.
 *   Values      Every real that is handed in must be finite; NaN and infinities are TASKMET_ERROR_INVALID_ARGUMENT.
 *               What is computed from them is finite, too, or the call is TASKMET_ERROR_NUMERICAL; comments say where
 *               NaN or an infinity stands for something.
 *   Handles     Opaque; made by _create, _load or _copy; given back by _destroy, which accepts NULL and drops the
 *               caller's reference (an object that another one still uses lives on). A destroyed handle, or one of
 *               another kind, is recognised and refused with TASKMET_ERROR_INVALID_ARGUMENT.
 *   Threads     Any number of threads may read the same dataset, task, predictor or metric at once. Writing to an object
 *               that is in use by another call, nested calls from a callback included, is TASKMET_ERROR_BUSY, as is
 *               reading one that is being written. Different objects are independent. taskmet_last_error() is per thread.
 *   Host        The library never prints, never exits, and does not touch signals, environment, locale, floating-point
 *               modes or the thread count of OpenBLAS. It computes in the caller's floating-point mode. The child of a fork
 *               may use it; what another thread was using at the fork stays BUSY there.
 *   Bits        The same inputs on the same CPU type with the same number of OpenBLAS threads give the same bits, for any
 *               number of the library's own threads.
 *   Layout      Parameters are one flat vector, laid out as PyTorch's nn.Linear: layer by layer the weight (outputs x
 *               inputs, row-major), then the bias (outputs) if there is one. A metric's vector is the factor's entries
 *               (constant) or its network's layers (conditional), and last the scalar s.
 *   Precision   Datasets, predictors and metrics are float64, or float32 where they are asked to be (_f32, _convert,
 *               files of float32); datasets in memory as well as streamed ones.
 *               A loss, a hypergradient or a trainer takes objects of one precision: mixed ones are
 *               TASKMET_ERROR_INVALID_ARGUMENT. In float32 the rows, the networks, the metric's factors and what is
 *               computed row by row are float32; the loss, sums over blocks of rows, vectors as long as theta or phi
 *               (gradients, an optimiser's moments, a linear solver's), exact solutions and every task are float64, and
 *               so is all that crosses this interface. Parameters are rounded when they are set, and read back as they
 *               are then. A number that float32 has no room for (3.4e38) is TASKMET_ERROR_INVALID_ARGUMENT where it is
 *               handed in, TASKMET_ERROR_NUMERICAL where training arrives at it.
 *   ABI         Enumerations are int32_t. Structs begin with struct_size, have no implicit padding and only grow at the
 *               end. For input structs call the _init function; a field beyond struct_size, or zero in a field that says
 *               so, means its default. For structs that the library writes, set struct_size first (sizeof): the part
 *               both sides know is written. A struct_size that ends within a field (no multiple of 8) is refused.
 *   C++         A callback must not let an exception leave it: catch it, keep it, return TASKMET_CALLBACK_ERROR.
 */
#ifndef TASKMET_H
#define TASKMET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. */
#define TASKMET_VERSION_MAJOR 0
#define TASKMET_VERSION_MINOR 1
#define TASKMET_VERSION_PATCH 0

/* The number of the binary interface of this header; compare it with taskmet_abi_version() when loading at run time. */
#define TASKMET_ABI_VERSION 0

/* ---------------------------------------------------------------------------------------------------------------- */
/* Enumerations                                                                                                     */

typedef int32_t taskmet_status;
enum {
    TASKMET_OK = 0,
    TASKMET_ERROR_INVALID_ARGUMENT = 1, /* a NULL, a value outside its range, a NaN, a handle that is not one */
    TASKMET_ERROR_SHAPE = 2,            /* sizes that do not fit each other */
    TASKMET_ERROR_STATE = 3,            /* not possible in the object's present state */
    TASKMET_ERROR_BUSY = 4,             /* the object is in use by another call */
    TASKMET_ERROR_CALLBACK = 5,         /* a callback failed, or left a value that is not finite */
    TASKMET_ERROR_REJECTED = 6,         /* a callback answered TASKMET_CALLBACK_REJECT where nothing can be retried */
    TASKMET_ERROR_NUMERICAL = 7,        /* overflow, a singular system: the message says what to change */
    TASKMET_ERROR_OUT_OF_MEMORY = 8,
    TASKMET_ERROR_IO = 9,               /* a file cannot be read or written */
    TASKMET_ERROR_FORMAT = 10,          /* a file is not what it should be */
    TASKMET_ERROR_VERSION = 11,         /* a file from a newer version */
    TASKMET_ERROR_UNSUPPORTED = 12      /* a combination that cannot work */
};

/* What a callback returns. Any other value counts as TASKMET_CALLBACK_ERROR. */
enum {
    TASKMET_CALLBACK_OK = 0,
    TASKMET_CALLBACK_REJECT = 1, /* "cannot evaluate here" */
    TASKMET_CALLBACK_STOP = 2,   /* "finish cleanly" (where a callback is asked once, this is an error) */
    TASKMET_CALLBACK_ERROR = 3
};

/* Activations, with PyTorch's definitions: leaky slope 0.01, elu alpha 1, gelu by erf, relu'(0) = 0; softplus is the smooth
 * function throughout (PyTorch's is linear above 20, which differs by 2e-9). */
typedef int32_t taskmet_activation;
enum {
    TASKMET_ACTIVATION_IDENTITY = 0,
    TASKMET_ACTIVATION_RELU = 1,
    TASKMET_ACTIVATION_LEAKY_RELU = 2,
    TASKMET_ACTIVATION_TANH = 3,
    TASKMET_ACTIVATION_SIGMOID = 4,
    TASKMET_ACTIVATION_SOFTPLUS = 5,
    TASKMET_ACTIVATION_ELU = 6,
    TASKMET_ACTIVATION_GELU = 7,
    TASKMET_ACTIVATION_SILU = 8
};

/* The structure of the factor L in Lambda = L L' + eps I (n outputs). */
typedef int32_t taskmet_structure;
enum {
    TASKMET_STRUCTURE_SCALAR = 0,   /* L = l I: 1 entry */
    TASKMET_STRUCTURE_DIAGONAL = 1, /* L = diag(l): n entries */
    TASKMET_STRUCTURE_LOWRANK = 2,  /* L is n x rank: n * rank entries, row-major */
    TASKMET_STRUCTURE_FULL = 3      /* L is n x n: n * n entries, row-major */
};

/* The normalisation of A = L L' + eps I (floor included). */
typedef int32_t taskmet_normalization;
enum {
    TASKMET_NORMALIZATION_NONE = 0,       /* Lambda = A */
    TASKMET_NORMALIZATION_FROBENIUS = 1,  /* Lambda = A sqrt(n) / |A|_F, row by row */
    TASKMET_NORMALIZATION_TRACE = 2,      /* Lambda = A n / tr A, row by row */
    TASKMET_NORMALIZATION_BATCH_TRACE = 3 /* Lambda = A / m, m a number stored with the metric */
};

/* How v is found in (H + ridge I) v = g. */
typedef int32_t taskmet_solver;
enum {
    TASKMET_SOLVER_CG = 0,              /* conjugate gradients; where A is indefinite or singular goes on with MINRES */
    TASKMET_SOLVER_NORMAL_CG = 1,       /* conjugate gradients on the normal equations (the paper's) */
    TASKMET_SOLVER_MINRES = 2,          /* for indefinite H */
    TASKMET_SOLVER_NEUMANN = 3,         /* v <- v + step (g - A v) */
    TASKMET_SOLVER_DENSE = 4,           /* LAPACK: Cholesky, Bunch-Kaufman where A is indefinite; up to 20000 unknowns */
    TASKMET_SOLVER_GAUSS_NEWTON_CG = 5, /* conjugate gradients with the Gauss-Newton matrix in place of H */
    TASKMET_SOLVER_IDENTITY = 6         /* v = g */
};

/* How theta*(phi) is found. */
typedef int32_t taskmet_inner_solver;
enum {
    TASKMET_INNER_ADAM = 0,
    TASKMET_INNER_SGD = 1,
    TASKMET_INNER_LBFGS = 2, /* limited-memory BFGS with a strong Wolfe line search */
    TASKMET_INNER_EXACT = 3  /* linear predictors: the weighted least-squares solution by LAPACK */
};

/* The floating-point type of an object: of the numbers that it stores, and of the arithmetic on rows. */
typedef int32_t taskmet_precision;
enum { TASKMET_FLOAT64 = 0, TASKMET_FLOAT32 = 1 };

typedef int32_t taskmet_phase;
enum { TASKMET_PHASE_TRAINING = 0, TASKMET_PHASE_VALIDATION = 1 };

/* What taskmet_predictor_fit_standardization measures; add the two for both. */
enum { TASKMET_STANDARDIZE_INPUTS = 1, TASKMET_STANDARDIZE_TARGETS = 2 };

/* ---------------------------------------------------------------------------------------------------------------- */
/* Version, statuses, errors                                                                                        */

/* The library's version, "major.minor.patch". Static. */
const char *taskmet_version(void);

/* The library's binary interface: a program built against a header with another TASKMET_ABI_VERSION must not use it. */
int32_t taskmet_abi_version(void);

/* The name of a status, "TASKMET_ERROR_SHAPE"; "unknown status" for a number that is none. Static. */
const char *taskmet_status_name(taskmet_status status);

/* The message of this thread's last failed call; "" where none has failed. Valid until the next failure on this thread. */
const char *taskmet_last_error(void);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Dataset: rows of features x_i and targets y_i, with optional weights and a grouping into instances               */

typedef struct taskmet_dataset taskmet_dataset;

/* A dataset with a copy of the data.
 *   rows          N >= 1
 *   features      d >= 1;  x: N x d, row stride x_stride >= d
 *   targets       n >= 1;  y: N x n, row stride y_stride >= n
 * Every row has weight 1 and is its own instance. */
taskmet_status taskmet_dataset_create(int64_t rows, int64_t features, const double *x, int64_t x_stride,
                                      int64_t targets, const double *y, int64_t y_stride,
                                      taskmet_dataset **dataset);

/* The same without a copy: x and y are borrowed, and must stay unchanged, until release(owner) is called: exactly once,
 * when the last object that holds the dataset is gone. release may be NULL; it is not called when this function fails.
 * Rows must be finite, which is checked here, once. */
taskmet_status taskmet_dataset_borrow(int64_t rows, int64_t features, const double *x, int64_t x_stride,
                                      int64_t targets, const double *y, int64_t y_stride,
                                      void (*release)(void *owner), void *owner,
                                      taskmet_dataset **dataset);

/* The two with float32 arrays, for a float32 dataset. Strides in elements. */
taskmet_status taskmet_dataset_create_f32(int64_t rows, int64_t features, const float *x, int64_t x_stride,
                                          int64_t targets, const float *y, int64_t y_stride,
                                          taskmet_dataset **dataset);
taskmet_status taskmet_dataset_borrow_f32(int64_t rows, int64_t features, const float *x, int64_t x_stride,
                                          int64_t targets, const float *y, int64_t y_stride,
                                          void (*release)(void *owner), void *owner,
                                          taskmet_dataset **dataset);

/* Reads rows of a streamed dataset: count >= 1 rows from first_row on.
 *   x    count x features, contiguous; y: count x targets. Both arrive filled with NaN and must be filled with finite numbers,
 *        the same ones whenever a row is asked for
 * Returns TASKMET_CALLBACK_OK; any other answer, and a number that is not finite, is TASKMET_ERROR_CALLBACK for the call that
 * needed the rows. */
typedef int32_t (*taskmet_read_fn)(void *user, int64_t first_row, int64_t count, double *x, double *y);

/* The same for a float32 dataset: rows are written as float, and a block of 512 KiB has twice as many of them. */
typedef int32_t (*taskmet_read_f32_fn)(void *user, int64_t first_row, int64_t count, float *x, float *y);

/* A streamed dataset, for data larger than memory: its rows are not kept, but read by blocks whenever they are needed, by
 * every function that takes a dataset. The results have the same bits as with the same rows in memory in the same
 * precision: float64, or with _f32 float32.
 *   read        is called for at most 512 KiB of rows at once, or 128 rows (float32: 256) where these are more; on the
 *               thread that called the library, and with a workspace or a trainer of several threads also on the library's
 *               own, several at a time: a reader that cannot do that takes a lock
 *   free_user   called once with user when the last object that holds the dataset is gone; may be NULL; not called when this
 *               function fails
 * Nothing is read here. Memory: two blocks for each of at most 8 lanes, whatever N is; a batch's own rows; what the metric's
 * cache and kept linearisations are allowed (metric_cache_bytes; 64 MiB); and what has N x n numbers by its nature:
 * predictions, targets and gradients of a task that judges all instances, three such arrays in a hypergradient.
 * A callback predictor gets a block at a time, where it would get all rows of a dataset in memory at once (its sums are then
 * rounded otherwise). In a task's batch of all instances inputs is NULL. */
taskmet_status taskmet_dataset_create_from_callback(int64_t rows, int64_t features, int64_t targets,
                                                    taskmet_read_fn read, void *user, void (*free_user)(void *user),
                                                    taskmet_dataset **dataset);
taskmet_status taskmet_dataset_create_from_callback_f32(int64_t rows, int64_t features, int64_t targets,
                                                        taskmet_read_f32_fn read, void *user,
                                                        void (*free_user)(void *user), taskmet_dataset **dataset);

/* A streamed dataset from two .npy files of NumPy's (version 1.0 or 2.0, C order): x_path of shape (rows, features),
 * y_path of shape (rows, targets) or (rows,). Both hold little-endian float64 ('<f8') or both float32 ('<f4'), and the
 * dataset is of that precision; one of each is FORMAT. Headers and files' sizes are checked here; anything else than
 * such an array, whole and without more behind it, is FORMAT. The files stay open, and are read by blocks rather than
 * mapped: one that becomes shorter is TASKMET_ERROR_IO for the call that needed the rows, where a mapping would kill
 * the process; a number that is not finite is FORMAT. They must not change while the dataset lives. */
taskmet_status taskmet_dataset_create_from_files(const char *x_path, const char *y_path, taskmet_dataset **dataset);

void taskmet_dataset_destroy(taskmet_dataset *dataset);

/* New contents (a minibatch) in place of the old ones, without a new object: N may change, d and n may not. weights: N, or
 * NULL (0) for all ones. Every row is its own instance again. A borrowed or streamed dataset cannot be refilled (STATE). */
taskmet_status taskmet_dataset_refill(taskmet_dataset *dataset, int64_t rows, const double *x, int64_t x_stride,
                                      const double *y, int64_t y_stride,
                                      const double *weights, int64_t weights_count);

/* The same from float32 arrays. A dataset keeps its precision: either function may refill either kind, and converts. */
taskmet_status taskmet_dataset_refill_f32(taskmet_dataset *dataset, int64_t rows, const float *x, int64_t x_stride,
                                          const float *y, int64_t y_stride,
                                          const double *weights, int64_t weights_count);

/* Groups the rows into instances, one for each decision problem: instance k owns rows offsets[k] .. offsets[k+1] - 1.
 * offsets: instance_count + 1 numbers, strictly increasing from 0 to N. Copied. */
taskmet_status taskmet_dataset_set_instances(taskmet_dataset *dataset, int64_t instance_count, const int64_t *offsets);

/* Sample weights s_i >= 0 of the prediction loss, one for each row (count = N). Copied. */
taskmet_status taskmet_dataset_set_weights(taskmet_dataset *dataset, const double *weights, int64_t count);

/* What a task needs to know of each instance besides its rows (a covariance matrix, costs, capacities); the predictor and the
 * metric never see it. Instance k owns values[offsets[k]] .. values[offsets[k+1] - 1]; offsets: instance_count + 1 numbers from
 * 0, not decreasing; instance_count: the dataset's instances, to be set before. Copied. Setting instances or refilling drops
 * it. values NULL with instance_count 0 takes it away. */
taskmet_status taskmet_dataset_set_context(taskmet_dataset *dataset, const double *values, int64_t instance_count,
                                           const int64_t *offsets);

/* The dataset's sizes. Any of the outputs may be NULL. */
taskmet_status taskmet_dataset_shape(const taskmet_dataset *dataset, int64_t *rows, int64_t *features, int64_t *targets,
                                     int64_t *instances);
taskmet_status taskmet_dataset_precision(const taskmet_dataset *dataset, taskmet_precision *precision);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Workspace: memory kept between calls, and the number of threads                                                  */

typedef struct taskmet_workspace taskmet_workspace;

/* A workspace for the functions that take one; they accept NULL, and then allocate for the call and use one thread.
 *   threads             of the library itself, 1..256; the results have the same bits for any number. More than 8 do no more,
 *                       and few rows (under 400) are not split. Where OpenBLAS has threads of its own, give it one
 *                       (OPENBLAS_NUM_THREADS=1) before using several here: the two get in each other's way
 *   metric_cache_bytes  while phi is fixed, the metric's factors of all rows are kept if they fit in this much memory, else
 *                       evaluated again block by block (same bits). 0: 256 MiB
 * One call at a time may use a workspace (else BUSY). It keeps the predictor and the metric that it was last used with, but no
 * dataset, until its next use with others or its end. */
taskmet_status taskmet_workspace_create(int64_t threads, int64_t metric_cache_bytes, taskmet_workspace **workspace);
void taskmet_workspace_destroy(taskmet_workspace *workspace);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Predictor f_theta: R^d -> R^n                                                                                     */

typedef struct taskmet_predictor taskmet_predictor;

/* f(x) = W x + b (bias = 1) or W x (bias = 0), starting at zero. Parameters: W (n x d), then b (n). */
taskmet_status taskmet_predictor_create_linear(int64_t inputs, int64_t outputs, int32_t bias,
                                               taskmet_predictor **predictor);

/* A multilayer perceptron with hidden_count >= 0 hidden layers of hidden[k] >= 1 units, every layer with a bias.
 * activation follows each hidden layer, output_activation the last. Starts as PyTorch's nn.Linear does: weights and biases
 * uniform in +-1/sqrt(layer inputs), from the seed. hidden may be NULL where hidden_count is 0. */
taskmet_status taskmet_predictor_create_mlp(int64_t inputs, int64_t outputs,
                                            int64_t hidden_count, const int64_t *hidden,
                                            taskmet_activation activation, taskmet_activation output_activation,
                                            uint64_t seed, taskmet_predictor **predictor);

/* The caller's own predictor. Each function returns TASKMET_CALLBACK_OK, or _REJECT / _ERROR, and is called on the thread
 * that called the library, for many rows at once; from several threads at once only if several use the predictor.
 * Arrays are row-major; x has a row stride, the others are contiguous. Outputs arrive filled with NaN. */
typedef struct taskmet_predictor_callbacks {
    size_t struct_size;
    /* out (rows x outputs) = f_theta(x_i) */
    int32_t (*forward)(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta, double *out);
    /* out (parameter_count) = sum_i J_i' c_i; c: rows x outputs */
    int32_t (*vjp)(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta, const double *c,
                   double *out);
    /* out (rows x outputs) = J_i w; w: parameter_count */
    int32_t (*jvp)(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta, const double *w,
                   double *out);
    /* out (parameter_count) = sum_i sum_k c_ik (d2 f_k(x_i) / dtheta2) w: the derivative of vjp along w at fixed c.
     * May be NULL: the Hessian is then replaced by the Gauss-Newton matrix everywhere, hypergradients included, which is
     * exact only where f is linear in theta or the residuals are zero: a hypergradient check then says WRONG. */
    int32_t (*hvp)(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta, const double *c,
                   const double *w, double *out);
} taskmet_predictor_callbacks;

/* A predictor made of callbacks (a convolutional network, a PyTorch module, a physics model).
 *   theta       its parameter_count >= 1 initial parameters, copied; NULL for zeros
 *   free_user   called once with user when the last reference is gone; may be NULL; not called when this function fails
 * The library keeps theta; the callbacks get it at each call. Copies share user. */
taskmet_status taskmet_predictor_create_callback(int64_t inputs, int64_t outputs,
                                                 const double *theta, int64_t parameter_count,
                                                 const taskmet_predictor_callbacks *callbacks,
                                                 void *user, void (*free_user)(void *user),
                                                 taskmet_predictor **predictor);

/* An independent copy. */
taskmet_status taskmet_predictor_copy(const taskmet_predictor *predictor, taskmet_predictor **copy);

/* A copy in another precision (or the same), its parameters rounded to that (NUMERICAL where one is too large): how a float32
 * predictor is made, of a new one, a trained one or a loaded one. Standardisation is the same, in float64. In float32 UNSUPPORTED for a callback predictor, whose
 * arithmetic is the caller's. */
taskmet_status taskmet_predictor_convert(const taskmet_predictor *predictor, taskmet_precision precision,
                                         taskmet_predictor **converted);
taskmet_status taskmet_predictor_precision(const taskmet_predictor *predictor, taskmet_precision *precision);
void taskmet_predictor_destroy(taskmet_predictor *predictor);

/* d, n, and the number of parameters. Any of the outputs may be NULL. */
taskmet_status taskmet_predictor_shape(const taskmet_predictor *predictor, int64_t *inputs, int64_t *outputs,
                                       int64_t *parameter_count);

taskmet_status taskmet_predictor_parameter_count(const taskmet_predictor *predictor, int64_t *count);
taskmet_status taskmet_predictor_get_parameters(const taskmet_predictor *predictor, double *out, int64_t count);
taskmet_status taskmet_predictor_set_parameters(taskmet_predictor *predictor, const double *values, int64_t count);

/* Whether (rho/2)|theta|^2 includes the biases (default 1). 0 leaves every bias out of every loss with this predictor.
 * UNSUPPORTED for a callback predictor. */
taskmet_status taskmet_predictor_set_penalize_bias(taskmet_predictor *predictor, int32_t penalize_bias);

/* Standardisation inside the predictor: f(x) = target_mean + target_scale * net((x - input_mean) / input_scale), entry by
 * entry, so that x, y and predictions stay in their own units. Scales > 0. Each pair may be NULL (count 0) for none.
 * input_*: d numbers; target_*: n numbers. Copied. UNSUPPORTED for a callback predictor. */
taskmet_status taskmet_predictor_set_standardization(taskmet_predictor *predictor,
                                                     const double *input_mean, const double *input_scale, int64_t inputs,
                                                     const double *target_mean, const double *target_scale,
                                                     int64_t targets);

/* The same from the dataset's own means and (population) standard deviations, each row counted once; a column that does
 * not vary gets scale 1. what: TASKMET_STANDARDIZE_INPUTS, _TARGETS or their sum; the side that is not named is kept. */
taskmet_status taskmet_predictor_fit_standardization(taskmet_predictor *predictor, const taskmet_dataset *dataset,
                                                     int32_t what);

/* out (rows x n) = f_theta(x_i). */
taskmet_status taskmet_predictor_predict(const taskmet_predictor *predictor, int64_t rows, const double *x,
                                         int64_t x_stride, double *out, int64_t out_stride);

/* Reverse mode: out (parameter count) = sum_i J_i' c_i, c: rows x n. */
taskmet_status taskmet_predictor_vjp(const taskmet_predictor *predictor, int64_t rows, const double *x, int64_t x_stride,
                                     const double *c, int64_t c_stride, double *out, int64_t count);

/* Forward mode: out (rows x n) = J_i v, v: parameter count. */
taskmet_status taskmet_predictor_jvp(const taskmet_predictor *predictor, int64_t rows, const double *x, int64_t x_stride,
                                     const double *v, int64_t count, double *out, int64_t out_stride);

/* A predictor linearised at some rows: one forward pass, then any number of products at that point, without a new pass and
 * without new memory. For external training loops whose loss is not L_pred, or where one network's output is another one's
 * input (a value function of predicted states). */
typedef struct taskmet_linearization taskmet_linearization;

/* One that holds nothing yet: its products are STATE until the first update. */
taskmet_status taskmet_linearization_create(taskmet_linearization **linearization);
void taskmet_linearization_destroy(taskmet_linearization *linearization);

/* Linearises the predictor at its present theta and these rows, which are copied, as theta is: what happens to either
 * afterwards does not matter (a new standardisation does: products are then STATE until the next update). Keeps the
 * predictor. Memory is made anew only for another predictor, or for more rows than before.
 *   out  rows x n, row stride out_stride: f_theta(x_i); may be NULL: then its stride is not looked at
 * One call at a time may use a linearisation (else BUSY). Where this function fails it holds nothing. */
taskmet_status taskmet_linearization_update(taskmet_linearization *linearization, const taskmet_predictor *predictor,
                                            int64_t rows, const double *x, int64_t x_stride,
                                            double *out, int64_t out_stride);

/* out (parameter count) = sum_i J_i' c_i, c: rows x n. */
taskmet_status taskmet_linearization_vjp(taskmet_linearization *linearization, const double *c, int64_t c_stride,
                                         double *out, int64_t count);

/* out (rows x d) = (df(x_i)/dx_i)' c_i: the derivative in the inputs, row by row; c: rows x n. UNSUPPORTED for a callback
 * predictor. */
taskmet_status taskmet_linearization_input_vjp(taskmet_linearization *linearization, const double *c, int64_t c_stride,
                                               double *out, int64_t out_stride);

/* out (rows x n) = J_i v, v: parameter count. */
taskmet_status taskmet_linearization_jvp(taskmet_linearization *linearization, const double *v, int64_t count,
                                         double *out, int64_t out_stride);

/* out (parameter count) = sum_i sum_k c_ik (d2 f_k(x_i) / dtheta2) w: the derivative of _vjp along w at fixed c; c: rows x n,
 * w: parameter count. UNSUPPORTED for a callback predictor without hvp. */
taskmet_status taskmet_linearization_hvp(taskmet_linearization *linearization, const double *c, int64_t c_stride,
                                         const double *w, int64_t w_count, double *out, int64_t count);

/* A predictor as a safetensors file: tensors layers.<k>.weight (outputs x inputs), layers.<k>.bias (outputs),
 * input_standardization.mean and .scale, target_standardization.mean and .scale where there is one; metadata with the rest
 * (widths, activations, penalize_bias). The file is replaced in one step: it is the old one or the new one, never a part.
 * The metadata "checksum" is that of the contents: with another one a file is damaged (FORMAT), without one it is taken as it
 * is. Only regular files are read (else IO). UNSUPPORTED for a callback predictor. */
taskmet_status taskmet_predictor_save(const taskmet_predictor *predictor, const char *path);
taskmet_status taskmet_predictor_load(const char *path, taskmet_predictor **predictor);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Metric Lambda_phi(x) = normalised (L L' + eps I), eps = exp(s) + floor                                            */

typedef struct taskmet_metric taskmet_metric;

/* A metric that is the same for every row; phi = (L's entries, s).
 *   outputs     n >= 1
 *   rank        1 <= rank <= n for TASKMET_STRUCTURE_LOWRANK, otherwise ignored
 *   seed        of the low-rank factor's columns; otherwise ignored
 * Starts at eps = 0.1 and L = sqrt(0.9) I, so Lambda = I; lowrank: orthonormal columns scaled so that tr Lambda = n. */
taskmet_status taskmet_metric_create_constant(int64_t outputs, taskmet_structure structure, int64_t rank, uint64_t seed,
                                              taskmet_metric **metric);

/* A metric whose factor is the output of a multilayer perceptron of the row's features (d = inputs); phi = (its layers, s).
 * The last layer has no activation; it starts with weights N(0, 0.01^2) and, as bias, the constant metric's L, so Lambda is
 * close to I everywhere and yet depends on x. */
taskmet_status taskmet_metric_create_conditional(int64_t inputs, int64_t outputs, taskmet_structure structure,
                                                 int64_t rank, int64_t hidden_count, const int64_t *hidden,
                                                 taskmet_activation activation, uint64_t seed, taskmet_metric **metric);

taskmet_status taskmet_metric_copy(const taskmet_metric *metric, taskmet_metric **copy);

/* A copy in another precision (or the same), its parameters rounded to that (NUMERICAL where one is too large): how a float32
 * metric is made. What is asked of a
 * metric alone (evaluate, vjp, regularizer) is computed in float64, at its rounded parameters. The stored m of batch_trace comes
 * along; whether a hypergradient differentiates it is settled by the next update. */
taskmet_status taskmet_metric_convert(const taskmet_metric *metric, taskmet_precision precision,
                                      taskmet_metric **converted);
taskmet_status taskmet_metric_precision(const taskmet_metric *metric, taskmet_precision *precision);
void taskmet_metric_destroy(taskmet_metric *metric);

/* d (0 for a constant metric), n, and the number of parameters. Any of the outputs may be NULL. */
taskmet_status taskmet_metric_shape(const taskmet_metric *metric, int64_t *inputs, int64_t *outputs,
                                    int64_t *parameter_count);
taskmet_status taskmet_metric_parameter_count(const taskmet_metric *metric, int64_t *count);
taskmet_status taskmet_metric_get_parameters(const taskmet_metric *metric, double *out, int64_t count);
taskmet_status taskmet_metric_set_parameters(taskmet_metric *metric, const double *values, int64_t count);

/* FROBENIUS and TRACE fix the scale of each row and so have no freedom left for n = 1 or TASKMET_STRUCTURE_SCALAR: refused
 * there (UNSUPPORTED). A new metric has NONE. BATCH_TRACE starts with m = 1; see taskmet_metric_update_normalization. */
taskmet_status taskmet_metric_set_normalization(taskmet_metric *metric, taskmet_normalization normalization);

/* BATCH_TRACE: sets m to the mean over these rows of tr(A_i)/n at the present phi (x may be NULL for a constant metric).
 * m stays as it is until the next call, also when phi changes. A derivative in phi (hypergradient, metric_vjp, regularizer)
 * includes m's if nothing that m was made from has changed: same phi and floor, and (conditional) it is asked for at these
 * same rows; else m is held fixed.
 * STATE with another normalisation. */
taskmet_status taskmet_metric_update_normalization(taskmet_metric *metric, int64_t rows, const double *x,
                                                   int64_t x_stride);

/* The stored m (1 before the first update). */
taskmet_status taskmet_metric_get_normalization_scale(const taskmet_metric *metric, double *scale);

/* The floor eps_min >= 0 in eps = exp(s) + eps_min; 0 in a new metric. phi is left alone: for eps to start at 0.1
 * set s, the last parameter, to log(0.1 - eps_min). */
taskmet_status taskmet_metric_set_floor(taskmet_metric *metric, double floor);

/* Standardisation of a conditional metric's features: its network sees (x - mean) / scale. d numbers each, scale > 0; NULL
 * (0) for none. UNSUPPORTED for a constant metric. */
taskmet_status taskmet_metric_set_standardization(taskmet_metric *metric, const double *mean, const double *scale,
                                                  int64_t inputs);

/* out = Lambda(x_i), rows x n x n, count = rows n n. x may be NULL (stride 0) for a constant metric. */
taskmet_status taskmet_metric_evaluate(const taskmet_metric *metric, int64_t rows, const double *x, int64_t x_stride,
                                       double *out, int64_t count);

/* Reverse mode: out (parameter count) = sum_i <C_i, dLambda(x_i)/dphi>. cotangent: C, rows x n x n (need not be
 * symmetric), cotangent_count = rows n n. */
taskmet_status taskmet_metric_vjp(const taskmet_metric *metric, int64_t rows, const double *x, int64_t x_stride,
                                  const double *cotangent, int64_t cotangent_count, double *out, int64_t count);

/* The regularisation b1 mean_i sum_jk |Lambda_i,jk| + b2 mean_i |Lambda_i - I|_F^2 and its gradient in phi. value and out
 * (parameter count) may each be NULL (count 0). b1, b2 >= 0. */
taskmet_status taskmet_metric_regularizer(const taskmet_metric *metric, int64_t rows, const double *x, int64_t x_stride,
                                          double b1, double b2, double *value, double *out, int64_t count);

/* As taskmet_predictor_save and _load. A constant metric's factor is the tensor "factor" (scalar: 1, diagonal: n, lowrank and
 * full: n x rank); "s", "floor" and "normalization_scale" (m) have one number each; a conditional metric's network is
 * layers.<k>.*, its standardisation input_standardization.*. What m was computed from is kept too, and whether the floor and
 * the normalisation were set (which a trainer asks). */
taskmet_status taskmet_metric_save(const taskmet_metric *metric, const char *path);
taskmet_status taskmet_metric_load(const char *path, taskmet_metric **metric);

/* ---------------------------------------------------------------------------------------------------------------- */
/* The metricised prediction loss L_pred, at the predictor's theta and the metric's phi; rho >= 0                    */

taskmet_status taskmet_loss_value(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                  const taskmet_dataset *dataset, double rho, double *value);

/* out (parameter count) = (2/N) sum_i s_i J_i' Lambda_i e_i + rho theta. */
taskmet_status taskmet_loss_gradient(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                     const taskmet_dataset *dataset, double rho, double *out, int64_t count);

/* Value and gradient in one pass: what an external training loop calls at each step. workspace may be NULL. */
taskmet_status taskmet_loss_value_gradient(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                           const taskmet_dataset *dataset, double rho, taskmet_workspace *workspace,
                                           double *value, double *out, int64_t count);

/* out = H w, the Hessian-vector product. w and out: parameter count. */
taskmet_status taskmet_loss_hvp(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                const taskmet_dataset *dataset, double rho, const double *w, int64_t w_count,
                                double *out, int64_t count);

/* out = G w, the Gauss-Newton product: H without the predictor's second derivatives. */
taskmet_status taskmet_loss_gnvp(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                 const taskmet_dataset *dataset, double rho, const double *w, int64_t w_count,
                                 double *out, int64_t count);

/* How taskmet_loss_minimize looks for theta*(phi). */
typedef struct taskmet_inner_options {
    size_t struct_size;
    taskmet_inner_solver solver; /* default TASKMET_INNER_LBFGS */
    int32_t reserved;            /* 0 */
    int64_t max_iterations;      /* 0: 1000 */
    double gradient_tolerance;   /* stop at |grad_theta| <= this; >= 0; default 1e-8 */
    double learning_rate;        /* adam and sgd; 0: 1e-2 (adam), 1e-3 (sgd) */
    double momentum;             /* sgd; in [0, 1); default 0 */
    int64_t memory;              /* lbfgs: pairs kept; 0: 10 */
} taskmet_inner_options;

void taskmet_inner_options_init(taskmet_inner_options *options);

typedef struct taskmet_inner_report {
    size_t struct_size;
    double value;         /* L_pred at the end */
    double gradient_norm; /* |grad_theta L_pred| at the end */
    int64_t iterations;
    int64_t evaluations; /* of the loss and its gradient */
    int32_t converged;   /* 1: gradient_norm <= gradient_tolerance */
    int32_t reserved;
} taskmet_inner_report;

/* Moves the predictor's theta towards theta*(phi) on the whole dataset, from where it is (EXACT does not depend on it).
 * options may be NULL for the defaults, workspace and report may be NULL. ADAM and SGD begin without moments at each call
 * (taskmet_optimizer_* keeps them). theta changes only on success; not
 * having converged within max_iterations is success. EXACT with a predictor that is not linear: UNSUPPORTED. A rank-deficient
 * design with rho = 0 gets its least-norm solution. */
taskmet_status taskmet_loss_minimize(taskmet_predictor *predictor, const taskmet_metric *metric,
                                     const taskmet_dataset *dataset, double rho, const taskmet_inner_options *options,
                                     taskmet_workspace *workspace, taskmet_inner_report *report);

/* ---------------------------------------------------------------------------------------------------------------- */
/* The hypergradient dL_task/dphi                                                                                    */

/* How (H + ridge I) v = g is solved. */
typedef struct taskmet_solver_options {
    size_t struct_size;
    taskmet_solver solver; /* default TASKMET_SOLVER_CG */
    int32_t reserved;      /* 0 */
    int64_t max_iterations; /* 0: 100 (neumann: 1000); one of normal_cg takes two products with A, the others one; cg and the
                               minres that it goes on with share the limit */
    double tolerance;      /* stop at |g - A v| / |g| <= this, A = H + ridge I; >= 0; default 1e-8 */
    double ridge;          /* >= 0; default 0 */
    double normal_ridge;   /* normal_cg solves (A A + normal_ridge I) v = A g; >= 0; default 0. With it, the residual stays
                              above what the ridge leaves: the solver ends when it has solved its own equation */
    double neumann_step;   /* 0: 1 / (an estimate of |A|) */
} taskmet_solver_options;

void taskmet_solver_options_init(taskmet_solver_options *options);

typedef struct taskmet_solver_report {
    size_t struct_size;
    double residual;            /* |g - A v| / |g|, computed from v, A = H + ridge I, whatever the solver (0 where g = 0) */
    int64_t iterations;
    int64_t operator_products;  /* products with H (or G), but for those that dense builds its matrix from */
    int32_t converged;          /* 1: residual <= tolerance (gauss_newton_cg: of its own system, G + ridge I) */
    int32_t negative_curvature; /* 1: A was found to be indefinite */
    taskmet_solver solver;      /* the one that finished: MINRES where CG could not go on */
    int32_t reserved;
    double gradient_norm;       /* |g| */
    double solution_norm;       /* |v| */
} taskmet_solver_report;

/* The hypergradient at the present theta, optimal or not, given the task's gradient in prediction space.
 *   c        dataset rows x n, row stride c_stride: c_i = dL_task/df_theta(x_i)
 *   options  NULL for the defaults
 *   out      metric's parameter count
 *   report   may be NULL. An inexact solution is TASKMET_OK: look at residual and converged.
 * The regularisation of the metric is not part of it: see taskmet_metric_regularizer. */
taskmet_status taskmet_hypergradient(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                     const taskmet_dataset *dataset, double rho, const double *c, int64_t c_stride,
                                     const taskmet_solver_options *options, double *out, int64_t count,
                                     taskmet_solver_report *report);

/* The same from g = grad_theta L_task itself (parameter count), which may come from other rows than the dataset's.
 *   v        in: where the solver starts (zeros: a cold start); out: the solution, for the next call's warm start. May be
 *            NULL (v_count 0)
 *   workspace may be NULL */
taskmet_status taskmet_hypergradient_from_gradient(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                                   const taskmet_dataset *dataset, double rho,
                                                   const double *g, int64_t g_count,
                                                   const taskmet_solver_options *options, taskmet_workspace *workspace,
                                                   double *v, int64_t v_count, double *out, int64_t count,
                                                   taskmet_solver_report *report);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Optimisers of a flat parameter vector, for external training loops                                                */

typedef struct taskmet_optimizer taskmet_optimizer;

/* Adam (Kingma and Ba), PyTorch's form. count parameters; rate > 0; 0 <= beta < 1; epsilon > 0. */
taskmet_status taskmet_optimizer_create_adam(int64_t count, double learning_rate, double beta1, double beta2,
                                             double epsilon, taskmet_optimizer **optimizer);

/* Gradient descent with momentum, PyTorch's form: b <- momentum b + g; p <- p - rate b. 0 <= momentum < 1. */
taskmet_status taskmet_optimizer_create_sgd(int64_t count, double learning_rate, double momentum,
                                            taskmet_optimizer **optimizer);

void taskmet_optimizer_destroy(taskmet_optimizer *optimizer);

/* One step: parameters (count, in and out) against gradient (count). A step whose result is not finite is refused
 * (NUMERICAL) and leaves parameters and optimiser as they were. */
taskmet_status taskmet_optimizer_step(taskmet_optimizer *optimizer, const double *gradient, int64_t gradient_count,
                                      double *parameters, int64_t count);

/* Forgets the moments and the step count; keeps the learning rate. */
taskmet_status taskmet_optimizer_reset(taskmet_optimizer *optimizer);
taskmet_status taskmet_optimizer_set_learning_rate(taskmet_optimizer *optimizer, double learning_rate);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Tasks                                                                                                             */

typedef struct taskmet_task taskmet_task;

/* What a task is asked to judge: some instances of a dataset and the predictions for their rows. Read only. */
typedef struct taskmet_task_batch {
    size_t struct_size;
    int64_t instance_count;
    const int64_t *instances; /* instance_count ids in the dataset */
    const int64_t *offsets;   /* instance_count + 1: instance k's rows below are offsets[k] .. offsets[k+1] - 1 */
    int64_t rows;
    int64_t outputs;
    int64_t features;
    const double *predictions; /* rows x outputs, contiguous */
    const double *targets;     /* rows x outputs, contiguous */
    const double *inputs;      /* rows x features, contiguous; NULL in a batch of all instances of a streamed dataset */
    taskmet_phase phase;
    int32_t reserved;
    const double *const *context;  /* instance_count pointers: what taskmet_dataset_set_context gave instance k; NULL where */
    const int64_t *context_counts; /*   the dataset has none. Each has context_counts[k] reals */
} taskmet_task_batch;

/* The task loss and its gradient in prediction space.
 *   loss      mean over the batch's instances; lower is better; arrives as NaN
 *   gradient  rows x outputs, contiguous: d loss / d predictions; arrives filled with NaN; NULL when only the loss is wanted
 * Returns TASKMET_CALLBACK_OK, or _REJECT, _STOP, _ERROR. A NaN or an infinity left behind, or any other value returned, is
 * TASKMET_ERROR_CALLBACK. Called on the thread that called the library; concurrently where several threads use the task. */
typedef int32_t (*taskmet_task_fn)(void *user, const taskmet_task_batch *batch, double *loss, double *gradient);

/* free_user is called once with user when the last reference to the task is gone; may be NULL; not called when this
 * function fails. */
taskmet_status taskmet_task_create_callback(taskmet_task_fn fn, void *user, void (*free_user)(void *user),
                                            taskmet_task **task);
void taskmet_task_destroy(taskmet_task *task);

/* The task's loss and gradient on all of the dataset's instances, for given predictions (rows x n).
 * gradient (rows x n, row stride gradient_stride) may be NULL: then its stride is not looked at. phase is passed on to the
 * callback. */
taskmet_status taskmet_task_gradient(const taskmet_task *task, const taskmet_dataset *dataset, taskmet_phase phase,
                                     const double *predictions, int64_t predictions_stride, double *loss,
                                     double *gradient, int64_t gradient_stride);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Built-in tasks: the library takes the decision, and differentiates it                                             */

/* Every task judges what is *done* because of a prediction: a decision z(yhat) is taken, and counts by its objective under
 * the true targets, F(z, y), which the task's sense says to minimise or to maximise. The task loss is always minimised: it is F
 * for TASKMET_SENSE_MINIMIZE and -F for TASKMET_SENSE_MAXIMIZE.
 *   TASKMET_PHASE_TRAINING     the decision is softened, or the loss replaced by a surrogate, as the constructor says; this has a
 *                              gradient
 *   TASKMET_PHASE_VALIDATION   the real decision; asking for a gradient there is TASKMET_ERROR_UNSUPPORTED
 * The entries of an instance are its rows x outputs predictions, in row order; M is their number. Instances may differ in M
 * unless the task's own data fix it (SHAPE). */
typedef int32_t taskmet_sense;
enum { TASKMET_SENSE_MINIMIZE = 0, TASKMET_SENSE_MAXIMIZE = 1 };

/* The sense of a task's objective; a callback task, whose loss is what it is, has TASKMET_SENSE_MINIMIZE. */
taskmet_status taskmet_task_get_sense(const taskmet_task *task, taskmet_sense *sense);

/* Choose the k of an instance's M entries with the highest predictions: F = sum of the chosen targets. MAXIMIZE.
 * In training every entry is taken in part, Z_i = sigmoid((yhat_i - t) / temperature) with t such that sum Z = k: the entropic
 * optimal transport of the entries to "taken" and "left" (Xie et al. 2020), differentiated exactly.
 *   k            1 <= k <= M (k = M has a zero gradient)
 *   temperature  > 0, in the unit of the predictions. It is epsilon C / 2 in terms of transport with costs (yhat - anchor)^2 / C
 *                to the anchors 0 and 1 and regularisation epsilon
 *   legacy       1: the published recipe: C is the instance's largest cost, a constant in the backward pass (which is then not the
 *                exact gradient), and `temperature` stands for epsilon (published: 0.01)
 * Decisions: M numbers, 0 or 1; among equal predictions the earlier entry is taken. */
taskmet_status taskmet_task_create_topk(int64_t k, double temperature, int32_t legacy, taskmet_task **task);

/* Choose `budget` of an instance's rows (websites) to reach as many users as possible; the targets are each user's click-through
 * rates y_ij in [0, 1] (INVALID_ARGUMENT where they are not; predictions are clipped to it): F = sum_j [1 - prod_i (1 - z_i y_ij)],
 * the expected number of users reached. MAXIMIZE.
 * In training z maximises the multilinear extension F(z, yhat) + gamma sum_i h(z_i), h(z) = -z log z - (1 - z) log(1 - z), over
 * 0 <= z <= 1, sum z = budget, to a KKT residual of 1e-10, from several deterministic starts, the best of which counts (there
 * is one solution alone where F's curvature is below 4 gamma). The gradient is that of the loss by the implicit function theorem,
 * 0 where a prediction is outside [0, 1].
 *   budget   1 <= budget <= rows
 *   gamma    > 0, in the unit of F; 0: 0.01, which suits rows that reach some tenths of a user each. The larger it is, the
 *            further z is from a set; where rows differ by far more than gamma the gradient vanishes
 *   legacy   1: the published recipe: projected gradient ascent (rate 0.1, momentum 0.9, 100 steps) without entropy, and 0.01 I
 *            added to the KKT matrix in the backward pass (not the exact gradient); it starts at budget / rows, not at random;
 *            gamma must be 0
 * Validation: the best set by enumeration where there are at most 100000 of them, else by lazy greedy (at least 1 - 1/e of the
 * best; Nemhauser et al. 1978). Decisions: one number, 0 or 1, for each row. */
taskmet_status taskmet_task_create_budget_allocation(int64_t budget, double gamma, int32_t legacy, taskmet_task **task);

/* Markowitz: F = y'z - risk_aversion z'Qz over sum z = 1, lower <= z <= upper. MAXIMIZE. The M x M matrix Q is the context of the
 * instance (row-major, symmetric, positive definite: NUMERICAL where it is not).
 * Solved exactly, by active sets; training and validation see the same decision, and the gradient is that of the active set.
 *   risk_aversion   > 0
 *   lower, upper    lower <= upper; M lower <= 1 <= M upper (else SHAPE, for the instance's M)
 *   legacy          1: the published recipe: the objective counts the quadratic term as |L z|^2 where the decision was taken
 *                   for z'Qz = |L'z|^2, L the lower Cholesky factor of Q
 * Decisions: M numbers. */
taskmet_status taskmet_task_create_portfolio(double risk_aversion, double lower, double upper, int32_t legacy,
                                             taskmet_task **task);

/* A quadratic program: F = 1/2 z'Qz + c(y)'z with c(y) = c0 + P y, over A z = b, G z <= h. */
typedef struct taskmet_quadratic_program {
    size_t struct_size;
    int64_t variables;    /* d */
    int64_t equalities;   /* rows of A; 0: none */
    int64_t inequalities; /* rows of G; 0: none */
    int64_t entries;      /* M, the predictions of an instance: columns of P */
    const double *quadratic;  /* Q: d x d, symmetric, positive semidefinite; NULL: each instance's context is its own Q */
    const double *linear;     /* c0: d; NULL: zero */
    const double *prediction; /* P: d x M; NULL: the identity (then M = d) */
    const double *equality_matrix;    /* A: equalities x d */
    const double *equality_values;    /* b: equalities */
    const double *inequality_matrix;  /* G: inequalities x d */
    const double *inequality_values;  /* h: inequalities */
} taskmet_quadratic_program;

/* MINIMIZE: the program itself. MAXIMIZE: c(y)'z - 1/2 z'Qz is maximised over the same set. All arrays are copied.
 * Solved by a primal-dual interior point method to a relative residual of the KKT conditions of 1e-10 (1e-8 where degeneracy does
 * not allow more), differentiated implicitly through these conditions. Where the solution is not unique (Q singular) or not
 * differentiable (ties), the gradient is that of the least-norm derivative: a constraint that is active without need counts as active.
 * Q that is not symmetric or has a negative eigenvalue is INVALID_ARGUMENT (a context: NUMERICAL, when it is looked at).
 * An empty feasible set is NUMERICAL here; an unbounded program is NUMERICAL when a decision is asked for. Decisions: d numbers. */
taskmet_status taskmet_task_create_quadratic_program(const taskmet_quadratic_program *program, taskmet_sense sense,
                                                     taskmet_task **task);

/* A linear program: F = y'z over A z <= b (M variables: one for each entry of the instance).
 * In training z minimises F + smoothing/2 |z|^2 (MAXIMIZE: maximises F - smoothing/2 |z|^2), after Wilder, Dilkina and Tambe
 * (2019), and is differentiated implicitly; the loss is F without that term. Validation: the linear program itself.
 *   constraints  rows of A (>= 1); variables M; matrix A: constraints x M; values b: constraints. Copied.
 *   smoothing    > 0
 * Errors as above. Decisions: M numbers. */
taskmet_status taskmet_task_create_linear_program(int64_t constraints, int64_t variables, const double *matrix,
                                                  const double *values, taskmet_sense sense, double smoothing,
                                                  taskmet_task **task);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Tasks around the caller's own solver: the caller takes decisions, the library makes a gradient of them             */

/* Problems for a decision oracle. Read only. The same instance may be there several times, with other costs. */
typedef struct taskmet_oracle_batch {
    size_t struct_size;
    int64_t count;            /* problems to solve */
    const int64_t *instances; /* count: the instance of each, an id in the dataset */
    const int64_t *offsets;   /* count + 1: problem k's costs are costs[offsets[k]] .. costs[offsets[k+1] - 1] */
    const double *costs;      /* offsets[count] numbers */
    const double *const *context;  /* count pointers, as in taskmet_task_batch; or NULL */
    const int64_t *context_counts; /* count; or NULL */
    taskmet_phase phase;
    int32_t reserved;
} taskmet_oracle_batch;

/* decisions (offsets[count] numbers, filled with NaN): for each problem k the z that minimises costs_k'z (sense MINIMIZE) or
 * maximises it (MAXIMIZE) over its feasible set: the caller's solver, dynamic program or simulator. It must not depend on
 * anything but the costs and the instance. Returns and threads as for taskmet_task_fn. */
typedef int32_t (*taskmet_oracle_fn)(void *user, const taskmet_oracle_batch *batch, double *decisions);

/* The tasks below have F = y'z with z the oracle's decision: yhat are predicted costs (MINIMIZE) or values (MAXIMIZE), M for an
 * instance, and so are decisions. In validation the decision is the oracle's for yhat: one problem for each instance. free_user
 * as for taskmet_task_create_callback. The problems of an evaluation come in one call of the oracle, instance after instance
 * (in several calls where they have more than 2^22 costs); costs that are not finite are never asked (NUMERICAL).
 * Below, w(c) is the oracle's decision for c, and +- is + for MINIMIZE, - for MAXIMIZE.
 *
 * SPO+ (Elmachtoub and Grigas 2022): the convex surrogate of regret.
 *     loss +-[(2 yhat - y)'w(y) - (2 yhat - y)'w(2 yhat - y)],       gradient +-2 (w(y) - w(2 yhat - y))
 * The loss is >= the regret >= 0. Two problems for each instance. */
taskmet_status taskmet_task_create_spo_plus(taskmet_sense sense, taskmet_oracle_fn oracle, void *user,
                                            void (*free_user)(void *user), taskmet_task **task);

/* What is trained on in a perturbed task. */
typedef int32_t taskmet_perturbed_loss;
enum {
    TASKMET_PERTURBED_FENCHEL_YOUNG = 0, /* convex; its minimum is where the mean decision is w(y) */
    TASKMET_PERTURBED_OBJECTIVE = 1      /* F of the mean decision under the true targets */
};

/* Perturbed optimiser (Berthet et al. 2020): the mean of the oracle's decisions at yhat + sigma U, U ~ N(0, I), is smooth in yhat.
 *   samples  1..1000000 draws U_s for each instance, the same at every evaluation (common random numbers, from the seed and
 *            the instance's id), in antithetic pairs U, -U where samples is even
 *   sigma    > 0, in the unit of the predictions
 * With w_s = w(yhat + sigma U_s) and means over the samples,
 *     FENCHEL_YOUNG  loss +-[yhat'w(y) - mean (yhat + sigma U_s)'w_s],    gradient +-[w(y) - mean w_s]
 *                    (Fenchel and Young's loss but for a term without yhat; the gradient is exact for these samples wherever the
 *                    decisions don't change; never negative for an even number of samples)
 *     OBJECTIVE      loss +-mean y'w_s,    gradient +-mean (y'w_s - y'w(yhat)) U_s / sigma
 *                    (an unbiased estimate of the gradient of the loss's expectation, by Stein's identity, which differences at
 *                    fixed samples do not reproduce)
 * samples + 1 problems for each instance. */
taskmet_status taskmet_task_create_perturbed(taskmet_sense sense, taskmet_oracle_fn oracle, void *user,
                                             void (*free_user)(void *user), taskmet_perturbed_loss loss, int64_t samples,
                                             double sigma, uint64_t seed, taskmet_task **task);

/* Differentiation of blackbox solvers (Vlastelica Pogancic et al. 2020): the loss is F at w(yhat), which is piecewise constant;
 * the gradient is that of its interpolation: +-(w(yhat + lambda y) - w(yhat)) / lambda.
 *   lambda  > 0, in the unit of predictions over targets
 * Two problems for each instance; one where only the loss is wanted. */
taskmet_status taskmet_task_create_blackbox(taskmet_sense sense, taskmet_oracle_fn oracle, void *user,
                                            void (*free_user)(void *user), double lambda, taskmet_task **task);

/* A loss without a gradient: losses (instance_count numbers, filled with NaN) of the batch's instances, each judged alone. The same
 * instance may be there several times, with other predictions. Returns and threads as for taskmet_task_fn. In validation, each
 * instance is evaluated once at yhat; a gradient is there in training only. An evaluation is one call, or several where
 * the batch would have more than 2^22 predictions, targets and inputs. MINIMIZE; no decisions. */
typedef int32_t (*taskmet_losses_fn)(void *user, const taskmet_task_batch *batch, double *losses);

/* Its gradient by central differences of every entry: 2 M + 1 evaluations of each instance, 1 where only the loss is wanted.
 *   step   > 0, in the unit of the predictions */
taskmet_status taskmet_task_create_finite_difference(taskmet_losses_fn losses, void *user, void (*free_user)(void *user),
                                                     double step, taskmet_task **task);

/* Its gradient by the score function (REINFORCE, evolution strategies): that of the loss smoothed by N(0, sigma^2 I),
 *     (1 / (2 sigma samples)) sum_s (l(yhat + sigma U_s) - l(yhat - sigma U_s)) U_s             in antithetic pairs
 *   samples  1..1000000 pairs for each instance, the same at every evaluation (common random numbers, from seed and instance)
 *   sigma    > 0, in the unit of the predictions
 * In training the loss is the mean over the same pairs, so that loss and gradient belong together; a linear loss gives an
 * unbiased gradient, a quadratic one too. Works for a loss that is not continuous. 2 samples evaluations of each instance. */
taskmet_status taskmet_task_create_score_function(taskmet_losses_fn losses, void *user, void (*free_user)(void *user),
                                                  int64_t samples, double sigma, uint64_t seed, taskmet_task **task);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Learned decision losses                                                                                           */

/* The form of a locally optimised decision loss (LODL; Shah et al. 2022), fitted to each instance, e = yhat - y (M entries). */
typedef int32_t taskmet_lodl_loss;
enum {
    TASKMET_LODL_WEIGHTED_MSE = 0,          /* sum_j w_j e_j^2, w_j >= 1e-3 w0 (see below) */
    TASKMET_LODL_DIRECTED_WEIGHTED_MSE = 1, /* the same with two weights, by the sign of e_j */
    TASKMET_LODL_QUADRATIC = 2,             /* |L'e|^2, L: M x rank */
    TASKMET_LODL_DIRECTED_QUADRATIC = 3     /* row j of L is one of two, by the sign of e_j (0 counts as positive) */
};

/* How predictions are drawn around the truth. */
typedef int32_t taskmet_lodl_sampling;
enum {
    TASKMET_LODL_ALL = 0, /* every coordinate gets normal noise */
    TASKMET_LODL_ONE = 1, /* one random coordinate does */
    TASKMET_LODL_TWO = 2  /* two random coordinates do */
};

typedef struct taskmet_lodl_options {
    size_t struct_size;
    taskmet_lodl_loss loss;         /* default TASKMET_LODL_WEIGHTED_MSE */
    taskmet_lodl_sampling sampling; /* default TASKMET_LODL_ALL */
    int64_t samples;                /* of each instance, >= 2; 0: 5000 */
    double deviation;               /* of the noise, > 0; 0: the standard deviation of the dataset's targets */
    int64_t rank;                   /* of L, at most M; 0: 20 */
    double learning_rate;           /* of Adam, in units of the unknowns' size; 0: 0.1 */
    int64_t iterations;             /* of Adam, over all samples; 0: 100 */
    int64_t patience;               /* iterations without a better fit of the held-out samples; 0: 25 */
    double held_out_share;          /* of the samples, in (0, 1); 0: 0.3 */
    int64_t threads;                /* instances are fitted in parallel; 0: 1. Same bits for any number */
    uint64_t seed;
} taskmet_lodl_options;

void taskmet_lodl_options_init(taskmet_lodl_options *options);

/* A task whose TRAINING loss is a LODL fitted to `task` on each instance of `dataset`: samples are drawn around the true targets
 * and the task's own loss there in phase VALIDATION, minus that of the true targets, is regressed on in the mean square. What
 * is kept are the parameters that were best on the held-out samples. The losses may have any unit: the regression takes them in
 * units of their root mean square tau over the instance's other samples, the noise in units of its deviation, and scales the
 * parameters back. A weight is at least 1e-3 w0, w0 = tau / (m deviation^2) with m the entries that noise moves at once: the
 * weight that explains losses of that size if all entries have it. Quadratic forms are not convex in L: the fit begins at a
 * random L (from the seed), and a directed one may end in a local minimum. An instance whose losses do not vary gets parameters 0.
 * In phase VALIDATION it is `task` itself, and so are its decisions and its sense. The fit asks `task` for losses alone, never
 * for a gradient. It can be trained on with that dataset alone: another one in TRAINING is SHAPE or STATE. options may be NULL.
 * With more than one thread a callback task is called from several threads. */
taskmet_status taskmet_task_create_lodl(const taskmet_task *task, const taskmet_dataset *dataset,
                                        const taskmet_lodl_options *options, taskmet_task **lodl);

/* How well the fitted losses predict the sampled ones: over all instances the mean of 1 - residual / variance on the held-out
 * samples, without those instances whose losses do not vary; NaN where that is all of them. Below 0 is worse than a constant.
 * INVALID_ARGUMENT for a task of another kind. */
taskmet_status taskmet_task_lodl_fit_quality(const taskmet_task *lodl, double *r_squared);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Checks: is a gradient right?                                                                                      */

typedef int32_t taskmet_verdict;
enum {
    TASKMET_VERDICT_CORRECT = 0,  /* every direction agrees to the tolerance */
    TASKMET_VERDICT_WRONG = 1,    /* a direction disagrees by far more than its numerical noise */
    TASKMET_VERDICT_UNDECIDED = 2 /* the numerical noise is larger than the tolerance: no statement */
};

/* The direction that agreed least, and what follows from all of them. For each direction the derivative of the loss is
 * estimated by central differences over a sweep of steps h and extrapolated; noise is how far neighbouring steps disagree
 * where they agree best. Errors are relative to max(|analytic|, |numeric|), or to `scale` where that is larger. */
typedef struct taskmet_check_report {
    size_t struct_size;
    taskmet_verdict verdict;
    int32_t reserved;
    double worst_error; /* the largest |analytic - numeric| / max(|analytic|, |numeric|, scale) of all directions */
    double noise;       /* of that direction, in the same unit */
    double analytic;    /* that direction's derivative from the gradient */
    double numeric;     /* and from differences */
    double step;        /* the h that was used there */
    double scale;       /* 1e-3 times the gradient's norm: a direction's derivative below it is compared with it */
    int64_t row;        /* task check: the entry of the prediction that was moved, -1 for a random direction */
    int64_t output;     /*   (hypergradient check: always -1) */
    int64_t directions; /* how many were tried */
} taskmet_check_report;

/* Checks a task's gradient against differences of its loss, at the given predictions (rows x n): along `directions` >= 1
 * random directions, and on as many single entries (all of them if there are fewer), drawn from the seed. The callback is
 * asked in phase TRAINING.
 *   tolerance  > 0; 0 means 1e-5
 *   worst      the largest relative error
 *   report     may be NULL
 * The result of the check is in worst and the verdict; the status only says whether it could be made. */
taskmet_status taskmet_task_check_gradient(const taskmet_task *task, const taskmet_dataset *dataset,
                                           const double *predictions, int64_t predictions_stride, int64_t directions,
                                           uint64_t seed, double tolerance, double *worst, taskmet_check_report *report);

/* Checks the hypergradient: solves the inner problem at phi, computes dL_task/dphi, then solves it again at phi +- h along
 * `directions` random directions of phi and differences the task loss. Slow by design. The predictor and the metric
 * are only read (copies are trained). The inner solution must be accurate for the check to decide: EXACT, or LBFGS with a
 * gradient_tolerance of 1e-10 or less; else expect UNDECIDED. BATCH_TRACE: the stored m is held fixed on both sides, unless
 * it is up to date: then it is recomputed at phi +- h. inner_options and solver_options may be NULL for the defaults;
 * tolerance as above, 0 means 1e-4. */
taskmet_status taskmet_hypergradient_check(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                           const taskmet_dataset *dataset, double rho, const taskmet_task *task,
                                           const taskmet_inner_options *inner_options,
                                           const taskmet_solver_options *solver_options, int64_t directions, uint64_t seed,
                                           double tolerance, double *worst, taskmet_check_report *report);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Held-out data                                                                                                     */

/* The task's loss of a predictor on a dataset (phase VALIDATION), whole and by instance.
 * A prediction that is not finite is not shown to the task (NUMERICAL).
 *   loss               mean over the dataset's instances; may be NULL
 *   per_instance_loss  one for each instance (count = the dataset's instances), each judged alone; NULL (0) for none: a
 *                      callback task is called once for each instance
 *   decisions          the decisions that a built-in task takes, instance by instance (decision_count as the next function
 *                      says); a task that leaves its decisions to its callback has none: NULL (0), else UNSUPPORTED */
taskmet_status taskmet_task_evaluate(const taskmet_task *task, const taskmet_predictor *predictor,
                                     const taskmet_dataset *dataset, double *loss,
                                     double *per_instance_loss, int64_t count,
                                     double *decisions, int64_t decision_count);

/* The number of decision variables of all of the dataset's instances; 0 for a task without decisions. */
taskmet_status taskmet_task_decision_count(const taskmet_task *task, const taskmet_dataset *dataset, int64_t *count);

/* How good the decisions are that follow from predictions, on a scale from chance to perfect. With l_k the loss of instance k in
 * phase VALIDATION and means over instances:
 *     regret            mean l(yhat) - mean l(y)                     >= 0 where the task's decisions are exact
 *     decision quality  (mean l(U) - mean l(yhat)) / (mean l(U) - mean l(y))
 * U are predictions drawn uniformly from [0, 1), the mean over random_draws of them. 1: as good as knowing the targets, 0: chance.
 * The intervals are percentiles of a bootstrap over instances, in which chance and perfection are resampled together with the
 * model. */
typedef struct taskmet_decision_report {
    size_t struct_size;
    int64_t instances;
    double objective;         /* mean F of the decisions from the predictions, in the task's own sense */
    double optimal_objective; /* from the true targets */
    double random_objective;  /* from random predictions */
    double regret;
    double decision_quality;  /* NaN where chance and perfection are the same, to what numbers can tell */
    double objective_lower, objective_upper;
    double regret_lower, regret_upper;
    double decision_quality_lower, decision_quality_upper;
    double mean_squared_error; /* of the predictions, over all entries */
} taskmet_decision_report;

/*   predictions        dataset rows x n
 *   random_draws       >= 1; 0: 10
 *   bootstrap_samples  >= 1; 0: 1000
 *   confidence         in (0, 1); 0: 0.95 */
taskmet_status taskmet_task_decision_quality(const taskmet_task *task, const taskmet_dataset *dataset,
                                             const double *predictions, int64_t predictions_stride, int64_t random_draws,
                                             int64_t bootstrap_samples, double confidence, uint64_t seed,
                                             taskmet_decision_report *report);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Trainer: Algorithm 1 of the paper, with stopping, roll-back, records and checkpoints                              */

/* The option "method" says how theta is trained. With data, tasks, validation, stopping, records and files all the same:
 *   taskmet       the metric is learned from the task, theta under the metric
 *   two_stage     theta under Lambda = I
 *   dfl           decision-focused learning: mean task loss over the instances (TRAINING) + alpha MSE
 *   spo_plus      the same with SPO+ in place of the task loss; tasks without it are UNSUPPORTED, before the first step
 *   lodl          the same with a LODL of each task (options lodl_*), fitted before the first step
 *   weighted_mse  L_pred under Lambda = I, the rows of instance k weighted by 1/2 + 1/2 regret_k / mean regret (besides their own
 *                 weights), regret_k = max(l_k(yhat) - l_k(y), 0) in phase VALIDATION where the iteration begins; 1 without regret
 * MSE is the mean of s_i e^2 over all entries, and (rho/2)|theta|^2 is added to everything. The last four are the baselines. Their
 * metric stays as it is. Their warm-up is two_stage's (warmup_iterations = 0: none). An iteration of dfl, spo_plus and lodl is up to
 * inner_iterations steps of Adam (or of sgd, if inner_solver is that) on inner_batch training instances; one of weighted_mse is
 * what inner_solver makes of the weighted loss. */

typedef struct taskmet_trainer taskmet_trainer;

/* Which of a trainer's two models. */
typedef int32_t taskmet_model;
enum {
    TASKMET_MODEL_BEST = 0, /* lowest validation task loss (training task loss where there is no validation data) within
                               max_prediction_loss_ratio: what to use */
    TASKMET_MODEL_LAST = 1  /* what training goes on from */
};

typedef int32_t taskmet_stop_reason;
enum {
    TASKMET_STOP_NONE = 0,       /* not finished: go on with _step or _fit */
    TASKMET_STOP_ITERATIONS = 1, /* outer_iterations are done */
    TASKMET_STOP_PATIENCE = 2,   /* no better model for `patience` iterations, as seen at a validation */
    TASKMET_STOP_REQUESTED = 3,  /* taskmet_trainer_stop */
    TASKMET_STOP_TASK = 4,       /* a task callback returned TASKMET_CALLBACK_STOP */
    TASKMET_STOP_PROGRESS = 5,   /* the progress callback did */
    TASKMET_STOP_INTERRUPT = 6,  /* the interrupt callback did */
    TASKMET_STOP_STALLED = 7     /* max_rollbacks steps in a row went wrong, each with half the rate of the one before */
};

typedef int32_t taskmet_log_level;
enum { TASKMET_LOG_INFO = 0, TASKMET_LOG_WARNING = 1 };

/* One outer iteration. Record 0 is the warm-up: the two-stage model. NaN stands for what was not measured. */
typedef struct taskmet_record {
    size_t struct_size;
    int64_t iteration;
    double task_loss;                 /* on the outer batch, after the inner steps */
    double prediction_loss;           /* what the inner solver minimises, on the training rows that it saw last: L_pred;
                                         dfl, spo_plus, lodl: decision loss + alpha MSE + (rho/2)|theta|^2 */
    double prediction_rmse;           /* root mean squared error over the entries of the rows that the task judged */
    double inner_gradient_norm;       /* of that loss, where the inner solver ended */
    int64_t inner_steps;              /* taken in this iteration */
    double hypergradient_norm;        /* of the step that led here; NaN in record 0 */
    double solver_residual;           /* |g - A v| / |g| of that hypergradient */
    int64_t solver_iterations;
    int32_t solver_converged;
    int32_t negative_curvature;
    double agreement;                 /* cosine of that hypergradient's two halves (option agreement_interval) */
    int32_t trusted;                  /* 1: no negative curvature; residual, inner gradient, agreement within thresholds */
    int32_t is_best;                  /* 1: this model is the best so far */
    double metric_rate;               /* the learning rate of phi (of theta for a baseline) in this step: halved for each step
                                         that is undone, doubled (up to the option's) after 5 in a row of which none was */
    int64_t rollbacks;                /* steps tried and undone before this one */
    int64_t rejections;               /* of them, those that the task rejected */
    int64_t hypergradient_instances;  /* in the batch of the linear system */
    double metric_smallest_eigenvalue; /* of Lambda, over at most 256 fixed training rows */
    double metric_largest_eigenvalue;
    double metric_mean_trace;         /* mean of tr Lambda / n over those rows */
    double validation_task_loss;      /* +infinity: predictions were rejected, or they or their errors overflowed */
    double validation_rmse;           /* +infinity in the second case */
    double seconds_inner;
    double seconds_task;
    double seconds_hypergradient;
    double seconds_validation;
    double seconds_total;
} taskmet_record;

typedef struct taskmet_fit_report {
    size_t struct_size;
    taskmet_stop_reason reason;
    int32_t reserved;
    int64_t iterations;            /* outer iterations done since the trainer was made */
    int64_t best_iteration;
    double best_task_loss;         /* the loss that chose it: validation's where there is validation data */
    double first_task_loss;        /* the same of record 0, the two-stage model */
    double best_rmse_ratio;        /* its RMSE over the two-stage model's, on the same data; 1 where the latter is 0 */
    int64_t rollbacks;             /* steps undone */
    int64_t rejections;            /* of them, rejected by the task */
    int64_t untrusted;             /* records that are not trusted */
    double seconds;
} taskmet_fit_report;

/* A trainer for copies of a predictor and a metric, on a dataset, which it holds: the dataset cannot be changed until the
 * trainer is destroyed (STATE). Shapes must fit. Where the metric's own _set_normalization and _set_floor were not called, the
 * first step gives it batch_trace and the floor of the option metric_floor (s is moved so that eps stays). Options start at the
 * preset "default". */
taskmet_status taskmet_trainer_create(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                      const taskmet_dataset *dataset, taskmet_trainer **trainer);
void taskmet_trainer_destroy(taskmet_trainer *trainer);

/* Adds a task with a weight > 0; the trainer keeps a reference. The losses are combined as the option task_combination says. At
 * least one is needed before the first step; none may be added after it (STATE). Weights so large that the combined loss or
 * gradient overflows make steps fail as other numbers that are not finite do. */
taskmet_status taskmet_trainer_add_task(taskmet_trainer *trainer, taskmet_task *task, double weight);

/* Data for choosing the best model and for stopping. Held like the training data. Before the first step only (STATE). */
taskmet_status taskmet_trainer_set_validation(taskmet_trainer *trainer, const taskmet_dataset *dataset);

/* Options, by name. _set_* refuses an unknown name, a value of another type and one outside the range, and names the
 * choices. Options can be changed between steps; those that shape the data (listed as such) before the first step only (STATE).
 * The string option "preset" sets a group of options: "default" or "paper". */
taskmet_status taskmet_trainer_set_int(taskmet_trainer *trainer, const char *name, int64_t value);
taskmet_status taskmet_trainer_set_double(taskmet_trainer *trainer, const char *name, double value);
taskmet_status taskmet_trainer_set_string(taskmet_trainer *trainer, const char *name, const char *value);
taskmet_status taskmet_trainer_get_int(const taskmet_trainer *trainer, const char *name, int64_t *value);
taskmet_status taskmet_trainer_get_double(const taskmet_trainer *trainer, const char *name, double *value);
/* value points to static memory. */
taskmet_status taskmet_trainer_get_string(const taskmet_trainer *trainer, const char *name, const char **value);

typedef int32_t taskmet_option_type;
enum { TASKMET_OPTION_INT = 0, TASKMET_OPTION_DOUBLE = 1, TASKMET_OPTION_STRING = 2 };

/* What there is to know of an option; the strings are static. */
typedef struct taskmet_option_description {
    size_t struct_size;
    const char *name;
    const char *help;            /* one line */
    taskmet_option_type type;
    int32_t fixed_after_start;   /* 1: to be set before the first step */
    int64_t int_default, int_minimum, int_maximum;
    double double_default, double_minimum, double_maximum;
    const char *string_default;
    const char *choices;         /* of a string: "a|b|c" */
} taskmet_option_description;

/* The number of options, and option 0 <= index < count. */
int64_t taskmet_option_count(void);
taskmet_status taskmet_option_info(int64_t index, taskmet_option_description *info);

/* Called after each record, with it; returns TASKMET_CALLBACK_OK or _STOP, or _ERROR (CALLBACK). fn NULL takes it away. */
typedef int32_t (*taskmet_progress_fn)(void *user, const taskmet_record *record);
taskmet_status taskmet_trainer_set_progress(taskmet_trainer *trainer, taskmet_progress_fn fn, void *user);

/* Gets whole messages, without a line end, valid during the call. fn NULL takes it away. */
typedef void (*taskmet_log_fn)(void *user, taskmet_log_level level, const char *message);
taskmet_status taskmet_trainer_set_log(taskmet_trainer *trainer, taskmet_log_fn fn, void *user);

/* Asked on the thread that trains, at most every 50 ms, also within the inner loop and the solvers; a return other than 0
 * stops training at the last whole iteration. For bindings that must look for Ctrl-C. fn NULL takes it away. */
typedef int32_t (*taskmet_interrupt_fn)(void *user);
taskmet_status taskmet_trainer_set_interrupt(taskmet_trainer *trainer, taskmet_interrupt_fn fn, void *user);

/* One outer iteration; the first call does the warm-up before it. record may be NULL.
 * On a failure the trainer is as it was before the call. A stop is no failure: the iteration it came in is undone, and
 * record is the last whole one's (iteration -1 where there is none); taskmet_trainer_fit gives the reason. */
taskmet_status taskmet_trainer_step(taskmet_trainer *trainer, taskmet_record *record);

/* Iterations until a reason to stop; may be called again to go on (after more outer_iterations, or a cleared stop).
 * report may be NULL. A stop is TASKMET_OK with its reason in the report. On a failure the trainer is as it was before the
 * iteration that failed, its best model readable. */
taskmet_status taskmet_trainer_fit(taskmet_trainer *trainer, taskmet_fit_report *report);

/* Asks training to stop at the next whole iteration. One atomic exchange: may be called from any thread and from a signal
 * handler, while the handle is alive. Stays in force until _clear_stop, also for a fit that has not begun. */
void taskmet_trainer_stop(taskmet_trainer *trainer);
void taskmet_trainer_clear_stop(taskmet_trainer *trainer);

/* New objects with the best or the last model. STATE before the first step. The metric's m (BATCH_TRACE) is up to date for the
 * training rows. */
taskmet_status taskmet_trainer_copy_predictor(const taskmet_trainer *trainer, taskmet_model model,
                                              taskmet_predictor **predictor);
taskmet_status taskmet_trainer_copy_metric(const taskmet_trainer *trainer, taskmet_model model, taskmet_metric **metric);

/* The records so far: 0 (warm-up) to count - 1. */
taskmet_status taskmet_trainer_history_count(const taskmet_trainer *trainer, int64_t *count);
taskmet_status taskmet_trainer_history_get(const taskmet_trainer *trainer, int64_t index, taskmet_record *record);

/* A text for people: what the best model's metric emphasises (by output, by sample, condition number), whether the
 * hypergradients could be trusted, and set-ups that cannot learn. UTF-8 with line ends, terminated. out may be NULL
 * (capacity 0) to ask for the size; size gets the bytes needed with the terminator and may be NULL; a capacity that is too
 * small is SHAPE. */
taskmet_status taskmet_trainer_explain(const taskmet_trainer *trainer, char *out, int64_t capacity, int64_t *size);

/* The whole state as one safetensors file: models, optimisers, random numbers, options, history, and a fingerprint of the data.
 * Replaced in one step. Callbacks and tasks are not part of it. */
taskmet_status taskmet_trainer_save(const taskmet_trainer *trainer, const char *path);

/* Restores a state into a trainer made with the same shapes, data, validation data and number of tasks, which then goes on
 * as the saved one would have, bit for bit (on the same type of CPU with the same number of OpenBLAS threads; the log says
 * where that differs). Other data are refused (SHAPE or STATE); so are damaged files (FORMAT) and newer ones (VERSION). */
taskmet_status taskmet_trainer_load(taskmet_trainer *trainer, const char *path);

#ifdef __cplusplus
}
#endif

#endif /* TASKMET_H */
