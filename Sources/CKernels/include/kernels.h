// Matrix products of small and medium size, with what a dense layer does before and after them in the same pass.
//
// They exist because BLAS, made for large matrices, spends much of such a product on packing and on its own calls, and
// because biases, activations and slopes would each be one more pass over memory. The same source is compiled for
// several instruction sets (kernels.inc); the best one that the machine has is chosen once (dispatch.c). Sums are taken
// in an order that depends on the shape and the instruction set alone.

#ifndef TASKMET_KERNELS_H
#define TASKMET_KERNELS_H

#include <stdint.h>

// C (m x n) = start + A B, or + A B + A2 B2, then one of the ends; row-major matrices. `c_stride` is the distance between
// the rows of C, 0 for n.
//
// A is m x k, with any distance between its rows and between its columns: a transposed matrix is one with the two
// exchanged. B is k x n, or the transpose of an n x k matrix where `b_transposed` is not 0. A2 and B2, where a2 is not
// NULL, are laid out as A and B. Start: C itself where `accumulate` is not 0; else `bias` (n elements) in every row;
// else 0. Ends: where `rectify` is not 0, C <- C > 0 ? C : below C; else, where `gate` is not NULL, C <- gate > 0 ? C :
// below C; else C <- C o factor, where that is not NULL. `gate` and `factor` are laid out as C. `strip` is for the kernels
// themselves: NULL.
#define TASKMET_DECLARE_PRODUCT(Scalar, suffix)                                                                        \
    struct product_##suffix {                                                                                          \
        int64_t m, n, k;                                                                                               \
        const Scalar *a;                                                                                               \
        int64_t a_row, a_column;                                                                                       \
        const Scalar *b;                                                                                               \
        const Scalar *a2, *b2;                                                                                         \
        int64_t b_stride;                                                                                              \
        Scalar *c;                                                                                                     \
        int64_t c_stride;                                                                                              \
        const Scalar *bias;                                                                                            \
        const Scalar *factor;                                                                                          \
        const Scalar *gate;                                                                                            \
        Scalar below;                                                                                                  \
        int32_t b_transposed, accumulate, rectify;                                                                     \
        const void *strip;                                                                                             \
    };

TASKMET_DECLARE_PRODUCT(double, f64)
TASKMET_DECLARE_PRODUCT(float, f32)

// A hidden layer a = rectify(z), z = X W' + b, under one linear output, f_i = sum_j u_j a_ij + const, a row at a time: the
// passes over `rows` x `units` arrays that such a network needs, each in one. Of scalars of one type, which the function
// names; `inputs` is at most RECTIFIED_INPUTS. The slope of the rectifier is 1 where the activation is positive, `below`
// elsewhere.
//
// add_rectified_outputs: `out` (rows) += the outputs without their constant where `activations` is NULL; else their
// tangents along a direction, sum_j (u_j slope_ij zdot_ij + udot_j a_ij): then `weights` and `biases` are the direction's,
// and `output_direction` is udot.
enum { RECTIFIED_INPUTS = 128 };

struct rectified_outputs {
    int64_t rows, inputs, units;
    const void *x;  // rows x inputs
    int64_t x_stride;
    const void *weights, *biases;  // units x inputs; units, or NULL
    const void *activations;       // rows x units, contiguous
    const void *output_weights, *output_direction;
    double below;
    void *out;
};

// add_rectified_gradient: with the outputs' cotangents c and zbar_ij = c_i u_j slope_ij, `weight_gradient` (units x inputs)
// += zbar' X, `bias_gradient` (units, or NULL) += the column sums of zbar, `output_gradient` (units, or NULL) += a' c.
struct rectified_gradient {
    int64_t rows, inputs, units;
    const void *x;  // rows x inputs
    int64_t x_stride;
    const void *activations;     // rows x units, contiguous
    const void *output_weights;  // u; NULL for ones
    const void *cotangent;       // rows
    double below;
    void *weight_gradient, *bias_gradient, *output_gradient;
};

// add_curvature_block: where `block` is the weight gradient of such cotangents that are kept, u left out, and `block_bias`
// their bias gradient, the rest is what they add to the derivative of the gradient along a direction: of a hidden unit,
// udot_j (block_j, block_bias_j); of an output weight, block_j . Wdot_j + block_bias_j bdot_j.
struct curvature_block {
    int64_t inputs, units;
    const void *block, *block_bias;         // units x inputs; units, or NULL
    const void *weights, *biases, *output;  // the direction: Wdot, bdot (or NULL), udot
    void *weight_gradient, *bias_gradient, *output_gradient;
};

// A step of Adam from `parameters` to `moved`, and from `moments` (m, then v) to `new_moments`:
// m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g g; p <- p - rate m / (sqrt(v) / correction + epsilon).
struct adam_step {
    int64_t count;
    const double *gradient, *parameters, *moments;
    double *moved, *new_moments;
    double beta1, beta2, rate, correction, epsilon;
};

// The kernels of one instruction set.
struct kernel_table {
    const char *name;
    void (*product_f64)(const struct product_f64 *);
    void (*product_f32)(const struct product_f32 *);
    void (*add_rectified_outputs_f64)(const struct rectified_outputs *);
    void (*add_rectified_outputs_f32)(const struct rectified_outputs *);
    void (*add_rectified_gradient_f64)(const struct rectified_gradient *);
    void (*add_rectified_gradient_f32)(const struct rectified_gradient *);
    void (*add_curvature_block_f64)(const struct curvature_block *);
    void (*add_curvature_block_f32)(const struct curvature_block *);
    // y (columns) += the column sums of the contiguous rows x columns matrix x.
    void (*add_column_sums_f64)(int64_t rows, int64_t columns, const double *x, double *y);
    void (*add_column_sums_f32)(int64_t rows, int64_t columns, const float *x, float *y);
    // Not 0 where all elements of x are finite.
    int32_t (*are_finite_f64)(int64_t count, const double *x);
    int32_t (*are_finite_f32)(int64_t count, const float *x);
    void (*step_adam)(const struct adam_step *);
};

extern const struct kernel_table kernels_baseline;
#if defined(__x86_64__)
extern const struct kernel_table kernels_avx2;
extern const struct kernel_table kernels_avx512;
#endif

// Those of an instruction set by its number, in ascending order; NULL where this machine has no such.
const struct kernel_table *kernels_for(int32_t level);

// The best that this machine has.
const struct kernel_table *kernels_best(void);

#endif
