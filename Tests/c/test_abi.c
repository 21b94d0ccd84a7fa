/*
 * test_abi.c - the binary interface of TASKMET_ABI_VERSION 0, on 64-bit systems: where each field is, how large
 * each struct is, what number each constant has. All of it is checked when this is compiled. The lines here never
 * change, since programs that were built with them are out there: a field that is appended to a struct gets a line
 * of its own and a new size, a constant a line.
 */
#include "check.h"

#include <stddef.h>

/* An array of -1 elements does not compile. */
#define HOLDS(name, condition) typedef char abi_##name[(condition) ? 1 : -1] __attribute__((unused))
#define SIZE(type, size) HOLDS(type##_size, sizeof(type) == (size))
#define FIELD(type, field, offset) HOLDS(type##_##field, offsetof(type, field) == (offset))
#define CONSTANT(name, value) HOLDS(name, (name) == (value))

CONSTANT(TASKMET_ABI_VERSION, 0);
SIZE(double, 8);
SIZE(size_t, 8);

/* Enumerations are int32_t. */
SIZE(taskmet_status, 4);
SIZE(taskmet_activation, 4);
SIZE(taskmet_structure, 4);
SIZE(taskmet_normalization, 4);
SIZE(taskmet_solver, 4);
SIZE(taskmet_inner_solver, 4);
SIZE(taskmet_phase, 4);
SIZE(taskmet_sense, 4);
SIZE(taskmet_perturbed_loss, 4);
SIZE(taskmet_lodl_loss, 4);
SIZE(taskmet_lodl_sampling, 4);
SIZE(taskmet_verdict, 4);
SIZE(taskmet_model, 4);
SIZE(taskmet_stop_reason, 4);
SIZE(taskmet_log_level, 4);
SIZE(taskmet_option_type, 4);
SIZE(taskmet_precision, 4);

/* Functions of the caller's. */
SIZE(taskmet_read_fn, 8);
SIZE(taskmet_read_f32_fn, 8);

/* Structs */

SIZE(taskmet_predictor_callbacks, 40);
FIELD(taskmet_predictor_callbacks, struct_size, 0);
FIELD(taskmet_predictor_callbacks, forward, 8);
FIELD(taskmet_predictor_callbacks, vjp, 16);
FIELD(taskmet_predictor_callbacks, jvp, 24);
FIELD(taskmet_predictor_callbacks, hvp, 32);

SIZE(taskmet_inner_options, 56);
FIELD(taskmet_inner_options, struct_size, 0);
FIELD(taskmet_inner_options, solver, 8);
FIELD(taskmet_inner_options, reserved, 12);
FIELD(taskmet_inner_options, max_iterations, 16);
FIELD(taskmet_inner_options, gradient_tolerance, 24);
FIELD(taskmet_inner_options, learning_rate, 32);
FIELD(taskmet_inner_options, momentum, 40);
FIELD(taskmet_inner_options, memory, 48);

SIZE(taskmet_inner_report, 48);
FIELD(taskmet_inner_report, struct_size, 0);
FIELD(taskmet_inner_report, value, 8);
FIELD(taskmet_inner_report, gradient_norm, 16);
FIELD(taskmet_inner_report, iterations, 24);
FIELD(taskmet_inner_report, evaluations, 32);
FIELD(taskmet_inner_report, converged, 40);
FIELD(taskmet_inner_report, reserved, 44);

SIZE(taskmet_solver_options, 56);
FIELD(taskmet_solver_options, struct_size, 0);
FIELD(taskmet_solver_options, solver, 8);
FIELD(taskmet_solver_options, reserved, 12);
FIELD(taskmet_solver_options, max_iterations, 16);
FIELD(taskmet_solver_options, tolerance, 24);
FIELD(taskmet_solver_options, ridge, 32);
FIELD(taskmet_solver_options, normal_ridge, 40);
FIELD(taskmet_solver_options, neumann_step, 48);

SIZE(taskmet_solver_report, 64);
FIELD(taskmet_solver_report, struct_size, 0);
FIELD(taskmet_solver_report, residual, 8);
FIELD(taskmet_solver_report, iterations, 16);
FIELD(taskmet_solver_report, operator_products, 24);
FIELD(taskmet_solver_report, converged, 32);
FIELD(taskmet_solver_report, negative_curvature, 36);
FIELD(taskmet_solver_report, solver, 40);
FIELD(taskmet_solver_report, reserved, 44);
FIELD(taskmet_solver_report, gradient_norm, 48);
FIELD(taskmet_solver_report, solution_norm, 56);

SIZE(taskmet_task_batch, 104);
FIELD(taskmet_task_batch, struct_size, 0);
FIELD(taskmet_task_batch, instance_count, 8);
FIELD(taskmet_task_batch, instances, 16);
FIELD(taskmet_task_batch, offsets, 24);
FIELD(taskmet_task_batch, rows, 32);
FIELD(taskmet_task_batch, outputs, 40);
FIELD(taskmet_task_batch, features, 48);
FIELD(taskmet_task_batch, predictions, 56);
FIELD(taskmet_task_batch, targets, 64);
FIELD(taskmet_task_batch, inputs, 72);
FIELD(taskmet_task_batch, phase, 80);
FIELD(taskmet_task_batch, reserved, 84);
FIELD(taskmet_task_batch, context, 88);
FIELD(taskmet_task_batch, context_counts, 96);

SIZE(taskmet_quadratic_program, 96);
FIELD(taskmet_quadratic_program, struct_size, 0);
FIELD(taskmet_quadratic_program, variables, 8);
FIELD(taskmet_quadratic_program, equalities, 16);
FIELD(taskmet_quadratic_program, inequalities, 24);
FIELD(taskmet_quadratic_program, entries, 32);
FIELD(taskmet_quadratic_program, quadratic, 40);
FIELD(taskmet_quadratic_program, linear, 48);
FIELD(taskmet_quadratic_program, prediction, 56);
FIELD(taskmet_quadratic_program, equality_matrix, 64);
FIELD(taskmet_quadratic_program, equality_values, 72);
FIELD(taskmet_quadratic_program, inequality_matrix, 80);
FIELD(taskmet_quadratic_program, inequality_values, 88);

SIZE(taskmet_oracle_batch, 64);
FIELD(taskmet_oracle_batch, struct_size, 0);
FIELD(taskmet_oracle_batch, count, 8);
FIELD(taskmet_oracle_batch, instances, 16);
FIELD(taskmet_oracle_batch, offsets, 24);
FIELD(taskmet_oracle_batch, costs, 32);
FIELD(taskmet_oracle_batch, context, 40);
FIELD(taskmet_oracle_batch, context_counts, 48);
FIELD(taskmet_oracle_batch, phase, 56);
FIELD(taskmet_oracle_batch, reserved, 60);

SIZE(taskmet_lodl_options, 88);
FIELD(taskmet_lodl_options, struct_size, 0);
FIELD(taskmet_lodl_options, loss, 8);
FIELD(taskmet_lodl_options, sampling, 12);
FIELD(taskmet_lodl_options, samples, 16);
FIELD(taskmet_lodl_options, deviation, 24);
FIELD(taskmet_lodl_options, rank, 32);
FIELD(taskmet_lodl_options, learning_rate, 40);
FIELD(taskmet_lodl_options, iterations, 48);
FIELD(taskmet_lodl_options, patience, 56);
FIELD(taskmet_lodl_options, held_out_share, 64);
FIELD(taskmet_lodl_options, threads, 72);
FIELD(taskmet_lodl_options, seed, 80);

SIZE(taskmet_check_report, 88);
FIELD(taskmet_check_report, struct_size, 0);
FIELD(taskmet_check_report, verdict, 8);
FIELD(taskmet_check_report, reserved, 12);
FIELD(taskmet_check_report, worst_error, 16);
FIELD(taskmet_check_report, noise, 24);
FIELD(taskmet_check_report, analytic, 32);
FIELD(taskmet_check_report, numeric, 40);
FIELD(taskmet_check_report, step, 48);
FIELD(taskmet_check_report, scale, 56);
FIELD(taskmet_check_report, row, 64);
FIELD(taskmet_check_report, output, 72);
FIELD(taskmet_check_report, directions, 80);

SIZE(taskmet_decision_report, 112);
FIELD(taskmet_decision_report, struct_size, 0);
FIELD(taskmet_decision_report, instances, 8);
FIELD(taskmet_decision_report, objective, 16);
FIELD(taskmet_decision_report, optimal_objective, 24);
FIELD(taskmet_decision_report, random_objective, 32);
FIELD(taskmet_decision_report, regret, 40);
FIELD(taskmet_decision_report, decision_quality, 48);
FIELD(taskmet_decision_report, objective_lower, 56);
FIELD(taskmet_decision_report, objective_upper, 64);
FIELD(taskmet_decision_report, regret_lower, 72);
FIELD(taskmet_decision_report, regret_upper, 80);
FIELD(taskmet_decision_report, decision_quality_lower, 88);
FIELD(taskmet_decision_report, decision_quality_upper, 96);
FIELD(taskmet_decision_report, mean_squared_error, 104);

SIZE(taskmet_record, 216);
FIELD(taskmet_record, struct_size, 0);
FIELD(taskmet_record, iteration, 8);
FIELD(taskmet_record, task_loss, 16);
FIELD(taskmet_record, prediction_loss, 24);
FIELD(taskmet_record, prediction_rmse, 32);
FIELD(taskmet_record, inner_gradient_norm, 40);
FIELD(taskmet_record, inner_steps, 48);
FIELD(taskmet_record, hypergradient_norm, 56);
FIELD(taskmet_record, solver_residual, 64);
FIELD(taskmet_record, solver_iterations, 72);
FIELD(taskmet_record, solver_converged, 80);
FIELD(taskmet_record, negative_curvature, 84);
FIELD(taskmet_record, agreement, 88);
FIELD(taskmet_record, trusted, 96);
FIELD(taskmet_record, is_best, 100);
FIELD(taskmet_record, metric_rate, 104);
FIELD(taskmet_record, rollbacks, 112);
FIELD(taskmet_record, rejections, 120);
FIELD(taskmet_record, hypergradient_instances, 128);
FIELD(taskmet_record, metric_smallest_eigenvalue, 136);
FIELD(taskmet_record, metric_largest_eigenvalue, 144);
FIELD(taskmet_record, metric_mean_trace, 152);
FIELD(taskmet_record, validation_task_loss, 160);
FIELD(taskmet_record, validation_rmse, 168);
FIELD(taskmet_record, seconds_inner, 176);
FIELD(taskmet_record, seconds_task, 184);
FIELD(taskmet_record, seconds_hypergradient, 192);
FIELD(taskmet_record, seconds_validation, 200);
FIELD(taskmet_record, seconds_total, 208);

SIZE(taskmet_fit_report, 88);
FIELD(taskmet_fit_report, struct_size, 0);
FIELD(taskmet_fit_report, reason, 8);
FIELD(taskmet_fit_report, reserved, 12);
FIELD(taskmet_fit_report, iterations, 16);
FIELD(taskmet_fit_report, best_iteration, 24);
FIELD(taskmet_fit_report, best_task_loss, 32);
FIELD(taskmet_fit_report, first_task_loss, 40);
FIELD(taskmet_fit_report, best_rmse_ratio, 48);
FIELD(taskmet_fit_report, rollbacks, 56);
FIELD(taskmet_fit_report, rejections, 64);
FIELD(taskmet_fit_report, untrusted, 72);
FIELD(taskmet_fit_report, seconds, 80);

SIZE(taskmet_option_description, 96);
FIELD(taskmet_option_description, struct_size, 0);
FIELD(taskmet_option_description, name, 8);
FIELD(taskmet_option_description, help, 16);
FIELD(taskmet_option_description, type, 24);
FIELD(taskmet_option_description, fixed_after_start, 28);
FIELD(taskmet_option_description, int_default, 32);
FIELD(taskmet_option_description, int_minimum, 40);
FIELD(taskmet_option_description, int_maximum, 48);
FIELD(taskmet_option_description, double_default, 56);
FIELD(taskmet_option_description, double_minimum, 64);
FIELD(taskmet_option_description, double_maximum, 72);
FIELD(taskmet_option_description, string_default, 80);
FIELD(taskmet_option_description, choices, 88);

/* Constants */

CONSTANT(TASKMET_OK, 0);
CONSTANT(TASKMET_ERROR_INVALID_ARGUMENT, 1);
CONSTANT(TASKMET_ERROR_SHAPE, 2);
CONSTANT(TASKMET_ERROR_STATE, 3);
CONSTANT(TASKMET_ERROR_BUSY, 4);
CONSTANT(TASKMET_ERROR_CALLBACK, 5);
CONSTANT(TASKMET_ERROR_REJECTED, 6);
CONSTANT(TASKMET_ERROR_NUMERICAL, 7);
CONSTANT(TASKMET_ERROR_OUT_OF_MEMORY, 8);
CONSTANT(TASKMET_ERROR_IO, 9);
CONSTANT(TASKMET_ERROR_FORMAT, 10);
CONSTANT(TASKMET_ERROR_VERSION, 11);
CONSTANT(TASKMET_ERROR_UNSUPPORTED, 12);
CONSTANT(TASKMET_CALLBACK_OK, 0);
CONSTANT(TASKMET_CALLBACK_REJECT, 1);
CONSTANT(TASKMET_CALLBACK_STOP, 2);
CONSTANT(TASKMET_CALLBACK_ERROR, 3);
CONSTANT(TASKMET_ACTIVATION_IDENTITY, 0);
CONSTANT(TASKMET_ACTIVATION_RELU, 1);
CONSTANT(TASKMET_ACTIVATION_LEAKY_RELU, 2);
CONSTANT(TASKMET_ACTIVATION_TANH, 3);
CONSTANT(TASKMET_ACTIVATION_SIGMOID, 4);
CONSTANT(TASKMET_ACTIVATION_SOFTPLUS, 5);
CONSTANT(TASKMET_ACTIVATION_ELU, 6);
CONSTANT(TASKMET_ACTIVATION_GELU, 7);
CONSTANT(TASKMET_ACTIVATION_SILU, 8);
CONSTANT(TASKMET_STRUCTURE_SCALAR, 0);
CONSTANT(TASKMET_STRUCTURE_DIAGONAL, 1);
CONSTANT(TASKMET_STRUCTURE_LOWRANK, 2);
CONSTANT(TASKMET_STRUCTURE_FULL, 3);
CONSTANT(TASKMET_NORMALIZATION_NONE, 0);
CONSTANT(TASKMET_NORMALIZATION_FROBENIUS, 1);
CONSTANT(TASKMET_NORMALIZATION_TRACE, 2);
CONSTANT(TASKMET_NORMALIZATION_BATCH_TRACE, 3);
CONSTANT(TASKMET_SOLVER_CG, 0);
CONSTANT(TASKMET_SOLVER_NORMAL_CG, 1);
CONSTANT(TASKMET_SOLVER_MINRES, 2);
CONSTANT(TASKMET_SOLVER_NEUMANN, 3);
CONSTANT(TASKMET_SOLVER_DENSE, 4);
CONSTANT(TASKMET_SOLVER_GAUSS_NEWTON_CG, 5);
CONSTANT(TASKMET_SOLVER_IDENTITY, 6);
CONSTANT(TASKMET_INNER_ADAM, 0);
CONSTANT(TASKMET_INNER_SGD, 1);
CONSTANT(TASKMET_INNER_LBFGS, 2);
CONSTANT(TASKMET_INNER_EXACT, 3);
CONSTANT(TASKMET_PHASE_TRAINING, 0);
CONSTANT(TASKMET_PHASE_VALIDATION, 1);
CONSTANT(TASKMET_STANDARDIZE_INPUTS, 1);
CONSTANT(TASKMET_STANDARDIZE_TARGETS, 2);
CONSTANT(TASKMET_SENSE_MINIMIZE, 0);
CONSTANT(TASKMET_SENSE_MAXIMIZE, 1);
CONSTANT(TASKMET_PERTURBED_FENCHEL_YOUNG, 0);
CONSTANT(TASKMET_PERTURBED_OBJECTIVE, 1);
CONSTANT(TASKMET_LODL_WEIGHTED_MSE, 0);
CONSTANT(TASKMET_LODL_DIRECTED_WEIGHTED_MSE, 1);
CONSTANT(TASKMET_LODL_QUADRATIC, 2);
CONSTANT(TASKMET_LODL_DIRECTED_QUADRATIC, 3);
CONSTANT(TASKMET_LODL_ALL, 0);
CONSTANT(TASKMET_LODL_ONE, 1);
CONSTANT(TASKMET_LODL_TWO, 2);
CONSTANT(TASKMET_VERDICT_CORRECT, 0);
CONSTANT(TASKMET_VERDICT_WRONG, 1);
CONSTANT(TASKMET_VERDICT_UNDECIDED, 2);
CONSTANT(TASKMET_MODEL_BEST, 0);
CONSTANT(TASKMET_MODEL_LAST, 1);
CONSTANT(TASKMET_STOP_NONE, 0);
CONSTANT(TASKMET_STOP_ITERATIONS, 1);
CONSTANT(TASKMET_STOP_PATIENCE, 2);
CONSTANT(TASKMET_STOP_REQUESTED, 3);
CONSTANT(TASKMET_STOP_TASK, 4);
CONSTANT(TASKMET_STOP_PROGRESS, 5);
CONSTANT(TASKMET_STOP_INTERRUPT, 6);
CONSTANT(TASKMET_STOP_STALLED, 7);
CONSTANT(TASKMET_LOG_INFO, 0);
CONSTANT(TASKMET_LOG_WARNING, 1);
CONSTANT(TASKMET_OPTION_INT, 0);
CONSTANT(TASKMET_OPTION_DOUBLE, 1);
CONSTANT(TASKMET_OPTION_STRING, 2);
CONSTANT(TASKMET_FLOAT64, 0);
CONSTANT(TASKMET_FLOAT32, 1);

/* The library is of the same interface as the header. */
int main(int argc, char **argv) {
    check_begin(argc, argv);
    CHECK(taskmet_abi_version() == TASKMET_ABI_VERSION);
    return check_end();
}
