/*
 * user_predictor.h - a predictor written by a user of the library: linear (hidden = 0) or one hidden layer of tanh units,
 * with the parameter layout of the built-in ones. It can be told to fail, counts its calls, and can do something else in
 * the middle of a call.
 */
#ifndef USER_PREDICTOR_H
#define USER_PREDICTOR_H

#include "check.h"

enum { USER_FORWARD, USER_VJP, USER_JVP, USER_HVP, USER_CALLBACKS, USER_MAX_HIDDEN = 16 };

/* How a callback fails: a number that it returns, or a number that it leaves in its output. */
enum { LEAVE_NAN = 1000, LEAVE_INFINITY, LEAVE_UNWRITTEN };

typedef struct user_predictor {
    int64_t inputs, outputs, hidden;
    int failing;                 /* which callback fails; -1: none */
    int32_t how;                 /* what it returns, or LEAVE_... */
    int64_t calls[USER_CALLBACKS];
    int unwanted;                /* outputs that did not arrive as NaN, and other broken promises */
    int freed;
    void (*inside)(struct user_predictor *self); /* done once, in the next call of forward */
    void *context;
} user_predictor;

static inline user_predictor user_model(int64_t inputs, int64_t outputs, int64_t hidden) {
    user_predictor model;
    memset(&model, 0, sizeof model);
    model.inputs = inputs;
    model.outputs = outputs;
    model.hidden = hidden;
    model.failing = -1;
    return model;
}

static inline int64_t user_count(const user_predictor *u) {
    return u->hidden == 0 ? u->outputs * (u->inputs + 1)
                          : u->hidden * (u->inputs + 1) + u->outputs * (u->hidden + 1);
}

/* The parts of theta (or of a vector beside it). */
typedef struct user_parts {
    int64_t w1, b1, w2, b2;
} user_parts;

static inline user_parts user_layout(const user_predictor *u) {
    user_parts parts;
    parts.w1 = 0;
    parts.b1 = u->hidden * u->inputs;
    parts.w2 = parts.b1 + u->hidden;
    parts.b2 = parts.w2 + u->outputs * (u->hidden == 0 ? u->inputs : u->hidden);
    return parts;
}

/* out = weight row k times x, plus bias k. */
static inline double user_unit(const double *weight, const double *bias, const double *x, int64_t size, int64_t k) {
    double sum = bias[k];
    for (int64_t j = 0; j < size; j += 1) sum += weight[k * size + j] * x[j];
    return sum;
}

/* What the last layer sees: the row itself, or the hidden units. */
static inline const double *user_hidden(const user_predictor *u, const double *theta, const double *x, double *a) {
    if (u->hidden == 0) return x;
    const user_parts at = user_layout(u);
    for (int64_t k = 0; k < u->hidden; k += 1) a[k] = tanh(user_unit(theta + at.w1, theta + at.b1, x, u->inputs, k));
    return a;
}

static inline int64_t user_last_size(const user_predictor *u) { return u->hidden == 0 ? u->inputs : u->hidden; }

/* ---------------------------------------------------------------------------------------------------------------- */
/* Entry and exit of every callback                                                                                 */

static inline void user_enter(user_predictor *u, int which, int64_t rows, const double *out, int64_t count) {
    u->calls[which] += 1;
    if (rows < 1) u->unwanted += 1;
    for (int64_t k = 0; k < count; k += 1)
        if (!isnan(out[k])) u->unwanted += 1;
}

static inline int32_t user_leave(user_predictor *u, int which, double *out, int64_t count) {
    if (u->failing != which) return TASKMET_CALLBACK_OK;
    if (u->how < LEAVE_NAN) return u->how;
    if (u->how == LEAVE_NAN) out[count - 1] = (double)NAN;
    if (u->how == LEAVE_INFINITY) out[0] = -(double)INFINITY;
    return TASKMET_CALLBACK_OK;
}

/* Whether the output is to stay as it arrived. */
static inline int user_idle(const user_predictor *u, int which) {
    return u->failing == which && u->how == LEAVE_UNWRITTEN;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The four callbacks                                                                                               */

static int32_t user_forward(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta,
                            double *out) {
    user_predictor *u = user;
    const user_parts at = user_layout(u);
    double a[USER_MAX_HIDDEN];
    user_enter(u, USER_FORWARD, rows, out, rows * u->outputs);
    void (*inside)(user_predictor *) = u->inside;
    u->inside = NULL;
    if (inside != NULL) inside(u);
    if (user_idle(u, USER_FORWARD)) return TASKMET_CALLBACK_OK;
    for (int64_t i = 0; i < rows; i += 1) {
        const double *last = user_hidden(u, theta, x + i * x_stride, a);
        for (int64_t k = 0; k < u->outputs; k += 1)
            out[i * u->outputs + k] = user_unit(theta + at.w2, theta + at.b2, last, user_last_size(u), k);
    }
    return user_leave(u, USER_FORWARD, out, rows * u->outputs);
}

/* Adds J' c of one row. */
static inline void user_row_vjp(const user_predictor *u, const double *x, const double *theta, const double *c,
                                double *out) {
    const user_parts at = user_layout(u);
    const int64_t size = user_last_size(u);
    double a[USER_MAX_HIDDEN];
    const double *last = user_hidden(u, theta, x, a);
    for (int64_t k = 0; k < u->outputs; k += 1) {
        out[at.b2 + k] += c[k];
        for (int64_t j = 0; j < size; j += 1) out[at.w2 + k * size + j] += c[k] * last[j];
    }
    for (int64_t h = 0; h < u->hidden; h += 1) {
        double back = 0;
        for (int64_t k = 0; k < u->outputs; k += 1) back += theta[at.w2 + k * size + h] * c[k];
        back *= 1 - a[h] * a[h];
        out[at.b1 + h] += back;
        for (int64_t j = 0; j < u->inputs; j += 1) out[at.w1 + h * u->inputs + j] += back * x[j];
    }
}

static int32_t user_vjp(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta,
                        const double *c, double *out) {
    user_predictor *u = user;
    const int64_t count = user_count(u);
    user_enter(u, USER_VJP, rows, out, count);
    if (user_idle(u, USER_VJP)) return TASKMET_CALLBACK_OK;
    memset(out, 0, (size_t)count * sizeof(double));
    for (int64_t i = 0; i < rows; i += 1) user_row_vjp(u, x + i * x_stride, theta, c + i * u->outputs, out);
    return user_leave(u, USER_VJP, out, count);
}

/* The derivative of the hidden units along w. */
static inline void user_hidden_tangent(const user_predictor *u, const double *x, const double *w, const double *a,
                                       double *da) {
    const user_parts at = user_layout(u);
    for (int64_t h = 0; h < u->hidden; h += 1)
        da[h] = (1 - a[h] * a[h]) * user_unit(w + at.w1, w + at.b1, x, u->inputs, h);
}

static int32_t user_jvp(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta,
                        const double *w, double *out) {
    user_predictor *u = user;
    const user_parts at = user_layout(u);
    const int64_t size = user_last_size(u);
    double a[USER_MAX_HIDDEN], da[USER_MAX_HIDDEN] = {0};
    user_enter(u, USER_JVP, rows, out, rows * u->outputs);
    if (user_idle(u, USER_JVP)) return TASKMET_CALLBACK_OK;
    for (int64_t i = 0; i < rows; i += 1) {
        const double *last = user_hidden(u, theta, x + i * x_stride, a);
        user_hidden_tangent(u, x + i * x_stride, w, a, da);
        for (int64_t k = 0; k < u->outputs; k += 1) {
            double sum = user_unit(w + at.w2, w + at.b2, last, size, k);
            for (int64_t h = 0; h < u->hidden; h += 1) sum += theta[at.w2 + k * size + h] * da[h];
            out[i * u->outputs + k] = sum;
        }
    }
    return user_leave(u, USER_JVP, out, rows * u->outputs);
}

/* Adds the derivative of user_row_vjp along w at fixed c. */
static inline void user_row_hvp(const user_predictor *u, const double *x, const double *theta, const double *c,
                                const double *w, double *out) {
    const user_parts at = user_layout(u);
    const int64_t size = u->hidden;
    double a[USER_MAX_HIDDEN], da[USER_MAX_HIDDEN];
    user_hidden(u, theta, x, a);
    user_hidden_tangent(u, x, w, a, da);
    for (int64_t h = 0; h < size; h += 1) {
        double back = 0, change = 0;
        for (int64_t k = 0; k < u->outputs; k += 1) {
            out[at.w2 + k * size + h] += c[k] * da[h];
            back += theta[at.w2 + k * size + h] * c[k];
            change += w[at.w2 + k * size + h] * c[k];
        }
        const double both = change * (1 - a[h] * a[h]) - 2 * back * a[h] * da[h];
        out[at.b1 + h] += both;
        for (int64_t j = 0; j < u->inputs; j += 1) out[at.w1 + h * u->inputs + j] += both * x[j];
    }
}

static int32_t user_hvp(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta,
                        const double *c, const double *w, double *out) {
    user_predictor *u = user;
    const int64_t count = user_count(u);
    user_enter(u, USER_HVP, rows, out, count);
    if (user_idle(u, USER_HVP)) return TASKMET_CALLBACK_OK;
    memset(out, 0, (size_t)count * sizeof(double));
    for (int64_t i = 0; i < rows && u->hidden > 0; i += 1)
        user_row_hvp(u, x + i * x_stride, theta, c + i * u->outputs, w, out);
    return user_leave(u, USER_HVP, out, count);
}

static inline void user_free(void *user) { ((user_predictor *)user)->freed += 1; }

static inline taskmet_predictor_callbacks user_callbacks(void) {
    taskmet_predictor_callbacks callbacks;
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.struct_size = sizeof callbacks;
    callbacks.forward = user_forward;
    callbacks.vjp = user_vjp;
    callbacks.jvp = user_jvp;
    callbacks.hvp = user_hvp;
    return callbacks;
}

/* theta: NULL for zeros. The model must outlive the predictor. */
static inline taskmet_predictor *make_user_predictor(user_predictor *u, const double *theta) {
    const taskmet_predictor_callbacks callbacks = user_callbacks();
    taskmet_predictor *predictor = NULL;
    NEED(taskmet_predictor_create_callback(u->inputs, u->outputs, theta, user_count(u), &callbacks, u, user_free,
                                           &predictor));
    return predictor;
}

#endif /* USER_PREDICTOR_H */
