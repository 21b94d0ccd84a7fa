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
 *   Values      Every real that is handed in must be finite; NaN and infinities are TASKMET_ERROR_INVALID_ARGUMENT.
 *   Handles     Opaque; made by _create, _load or _copy; given back by _destroy, which accepts NULL and drops the
 *               caller's reference (an object that another one still uses lives on). A destroyed handle, or one of
 *               another kind, is recognised and refused with TASKMET_ERROR_INVALID_ARGUMENT.
 *   Threads     Any number of threads may read the same dataset, task, predictor or metric at once. Writing to an object
 *               that is in use by another call, nested calls from a callback included, is TASKMET_ERROR_BUSY, as is reading one that is being
 *               written. Different objects are independent. taskmet_last_error() is per thread.
 *   Host        The library never prints, never exits, and does not touch signals, environment, locale, floating-point
 *               modes or the thread count of OpenBLAS.
 *   Bits        The same inputs on the same CPU type with the same number of OpenBLAS threads give the same bits, for any
 *               number of the library's own threads.
 *   Layout      Parameters are one flat vector, laid out as PyTorch's nn.Linear: layer by layer the weight (outputs x
 *               inputs, row-major), then the bias (outputs) if there is one. A metric's vector is the factor's entries
 *               (constant) or its network's layers (conditional), and last the scalar s.
 *   ABI         Enumerations are int32_t. Structs begin with struct_size, have no implicit padding and only grow at the
 *               end. For input structs call the _init function; a field beyond struct_size, or zero in a field that says
 *               so, means its default. For structs that the library writes, set struct_size first (sizeof): the part
 *               both sides know is written.
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
    TASKMET_ERROR_VERSION = 11,         /* a file or a struct from a newer version */
    TASKMET_ERROR_UNSUPPORTED = 12      /* a combination that cannot work */
};

/* What a callback returns. Any other value counts as TASKMET_CALLBACK_ERROR. */
enum {
    TASKMET_CALLBACK_OK = 0,
    TASKMET_CALLBACK_REJECT = 1, /* "cannot evaluate here" */
    TASKMET_CALLBACK_STOP = 2,   /* "finish cleanly" (where a callback is asked once, this is an error) */
    TASKMET_CALLBACK_ERROR = 3
};

/* Activations, with PyTorch's definitions: leaky slope 0.01, elu alpha 1, gelu by erf, relu'(0) = 0. */
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
    TASKMET_SOLVER_CG = 0,              /* conjugate gradients; on negative curvature goes on with MINRES from its v */
    TASKMET_SOLVER_NORMAL_CG = 1,       /* conjugate gradients on the normal equations (the paper's) */
    TASKMET_SOLVER_MINRES = 2,          /* for indefinite H */
    TASKMET_SOLVER_NEUMANN = 3,         /* v <- v + step (g - A v) */
    TASKMET_SOLVER_DENSE = 4,           /* LAPACK: Cholesky, Bunch-Kaufman where A is indefinite */
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

void taskmet_dataset_destroy(taskmet_dataset *dataset);

/* New contents (a minibatch) in place of the old ones, without a new object: N may change, d and n may not. weights: N, or
 * NULL (0) for all ones. Every row is its own instance again. A borrowed dataset cannot be refilled (STATE). */
taskmet_status taskmet_dataset_refill(taskmet_dataset *dataset, int64_t rows, const double *x, int64_t x_stride,
                                      const double *y, int64_t y_stride,
                                      const double *weights, int64_t weights_count);

/* Groups the rows into instances, one for each decision problem: instance k owns rows offsets[k] .. offsets[k+1] - 1.
 * offsets: instance_count + 1 numbers, strictly increasing from 0 to N. Copied. */
taskmet_status taskmet_dataset_set_instances(taskmet_dataset *dataset, int64_t instance_count, const int64_t *offsets);

/* Sample weights s_i >= 0 of the prediction loss, one for each row (count = N). Copied. */
taskmet_status taskmet_dataset_set_weights(taskmet_dataset *dataset, const double *weights, int64_t count);

/* The dataset's sizes. Any of the outputs may be NULL. */
taskmet_status taskmet_dataset_shape(const taskmet_dataset *dataset, int64_t *rows, int64_t *features, int64_t *targets,
                                     int64_t *instances);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Workspace: memory kept between calls, and the number of threads                                                  */

typedef struct taskmet_workspace taskmet_workspace;

/* A workspace for the functions that take one; they accept NULL, and then allocate for the call and use one thread.
 *   threads             of the library itself, 1..256; the results have the same bits for any number
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
     * May be NULL: the Hessian is then replaced by the Gauss-Newton matrix everywhere. */
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

/* A predictor as a safetensors file: tensors layers.<k>.weight, layers.<k>.bias and the standardisation's, metadata with
 * the rest. The file is replaced in one step: it is the old one or the new one, never a part. UNSUPPORTED for a callback
 * predictor. */
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

/* As taskmet_predictor_save and _load; a constant metric's factor is the tensor "factor", s is "s". */
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
 * options may be NULL for the defaults, workspace and report may be NULL. theta changes only on success; not
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
    int64_t max_iterations; /* 0: 100 (neumann: 1000); one of normal_cg or minres counts as one */
    double tolerance;      /* stop at |g - A v| / |g| <= this, A = H + ridge I; >= 0; default 1e-8 */
    double ridge;          /* >= 0; default 0 */
    double normal_ridge;   /* normal_cg solves (A A + normal_ridge I) v = A g; >= 0; default 0 */
    double neumann_step;   /* 0: 1 / (an estimate of |A|) */
} taskmet_solver_options;

void taskmet_solver_options_init(taskmet_solver_options *options);

typedef struct taskmet_solver_report {
    size_t struct_size;
    double residual;            /* |g - A v| / |g|, computed from v, A = H + ridge I, whatever the solver (0 where g = 0) */
    int64_t iterations;
    int64_t operator_products;  /* products with H (or G) */
    int32_t converged;          /* 1: residual <= tolerance (gauss_newton_cg: of its own system, G + ridge I) */
    int32_t negative_curvature; /* 1: A was found to be indefinite */
    taskmet_solver solver;      /* the one that finished: MINRES where CG met negative curvature */
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
    const double *inputs;      /* rows x features, contiguous */
    taskmet_phase phase;
    int32_t reserved;
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
 * gradient (rows x n, row stride gradient_stride) may be NULL. phase is passed on to the callback. */
taskmet_status taskmet_task_gradient(const taskmet_task *task, const taskmet_dataset *dataset, taskmet_phase phase,
                                     const double *predictions, int64_t predictions_stride, double *loss,
                                     double *gradient, int64_t gradient_stride);

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
 * random directions, and on as many single entries (all of them if there are fewer), drawn from the seed.
 *   tolerance  > 0; 0 means 1e-5
 *   worst      the largest relative error
 *   report     may be NULL
 * The result of the check is in worst and the verdict; the status only says whether it could be made. */
taskmet_status taskmet_task_check_gradient(const taskmet_task *task, const taskmet_dataset *dataset,
                                           const double *predictions, int64_t predictions_stride, int64_t directions,
                                           uint64_t seed, double tolerance, double *worst, taskmet_check_report *report);

/* Checks the hypergradient: solves the inner problem at phi, computes dL_task/dphi, then solves it again at phi +- h along
 * `directions` random directions of phi and differences the task loss. Slow by design. The predictor and the metric
 * are only read (copies are trained). The inner solution must be accurate for the check to decide: EXACT, or LBFGS
 * with a gradient_tolerance of 1e-10 or less; else expect UNDECIDED. BATCH_TRACE: the stored m is held fixed on both sides unless it is up to
 * date (then it is recomputed at phi +- h). inner_options and solver_options may be NULL for the defaults; tolerance as above, 0 means 1e-4. */
taskmet_status taskmet_hypergradient_check(const taskmet_predictor *predictor, const taskmet_metric *metric,
                                           const taskmet_dataset *dataset, double rho, const taskmet_task *task,
                                           const taskmet_inner_options *inner_options,
                                           const taskmet_solver_options *solver_options, int64_t directions, uint64_t seed,
                                           double tolerance, double *worst, taskmet_check_report *report);

#ifdef __cplusplus
}
#endif

#endif /* TASKMET_H */
