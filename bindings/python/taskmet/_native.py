"""The C API through ctypes, as include/taskmet.h declares it: enumerations, structs, functions, the loaded library.

``library`` has each function under its C name without ``taskmet_``. A function that returns a status raises the error
that it stands for. Nothing here knows of NumPy or of objects: pointers and counts go in as the header says.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
from collections.abc import Callable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint64,
    c_void_p,
)
from typing import Any

from taskmet.errors import TaskMetError, UnsupportedError, error_for

ABI_VERSION = 0

# ----------------------------------------------------------------------------------------------------------------------
# Enumerations: the constants' names without their prefix, in small letters

STATUSES = {
    "ok": 0,
    "error_invalid_argument": 1,
    "error_shape": 2,
    "error_state": 3,
    "error_busy": 4,
    "error_callback": 5,
    "error_rejected": 6,
    "error_numerical": 7,
    "error_out_of_memory": 8,
    "error_io": 9,
    "error_format": 10,
    "error_version": 11,
    "error_unsupported": 12,
}
CALLBACK = {"ok": 0, "reject": 1, "stop": 2, "error": 3}
ACTIVATION = {
    "identity": 0,
    "relu": 1,
    "leaky_relu": 2,
    "tanh": 3,
    "sigmoid": 4,
    "softplus": 5,
    "elu": 6,
    "gelu": 7,
    "silu": 8,
}
STRUCTURE = {"scalar": 0, "diagonal": 1, "lowrank": 2, "full": 3}
NORMALIZATION = {"none": 0, "frobenius": 1, "trace": 2, "batch_trace": 3}
SOLVER = {"cg": 0, "normal_cg": 1, "minres": 2, "neumann": 3, "dense": 4, "gauss_newton_cg": 5, "identity": 6}
INNER = {"adam": 0, "sgd": 1, "lbfgs": 2, "exact": 3}
PRECISION = {"float64": 0, "float32": 1}
PHASE = {"training": 0, "validation": 1}
STANDARDIZE = {"inputs": 1, "targets": 2}
SENSE = {"minimize": 0, "maximize": 1}
PERTURBED = {"fenchel_young": 0, "objective": 1}
LODL_LOSS = {"weighted_mse": 0, "directed_weighted_mse": 1, "quadratic": 2, "directed_quadratic": 3}
LODL_SAMPLING = {"all": 0, "one": 1, "two": 2}
VERDICT = {"correct": 0, "wrong": 1, "undecided": 2}
MODEL = {"best": 0, "last": 1}
STOP = {
    "none": 0,
    "iterations": 1,
    "patience": 2,
    "requested": 3,
    "task": 4,
    "progress": 5,
    "interrupt": 6,
    "stalled": 7,
}
LOG = {"info": 0, "warning": 1}
OPTION = {"int": 0, "double": 1, "string": 2}


def constant(values: dict[str, int], name: str, argument: str) -> int:
    """The number of an enumeration's constant; ``argument`` is what the caller calls it."""
    try:
        return values[name]
    except (KeyError, TypeError):
        raise ValueError(f"{argument} must be one of {', '.join(values)}, got {name!r}") from None


def constant_name(values: dict[str, int], number: int) -> str:
    """The name that a number stands for."""
    return next(name for name, value in values.items() if value == number)


# ----------------------------------------------------------------------------------------------------------------------
# Structs

REALS, INTEGERS, HANDLE, NEW_HANDLE = POINTER(c_double), POINTER(c_int64), c_void_p, POINTER(c_void_p)


class InnerOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("solver", c_int32),
        ("reserved", c_int32),
        ("max_iterations", c_int64),
        ("gradient_tolerance", c_double),
        ("learning_rate", c_double),
        ("momentum", c_double),
        ("memory", c_int64),
    ]


class InnerReport(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("value", c_double),
        ("gradient_norm", c_double),
        ("iterations", c_int64),
        ("evaluations", c_int64),
        ("converged", c_int32),
        ("reserved", c_int32),
    ]


class SolverOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("solver", c_int32),
        ("reserved", c_int32),
        ("max_iterations", c_int64),
        ("tolerance", c_double),
        ("ridge", c_double),
        ("normal_ridge", c_double),
        ("neumann_step", c_double),
    ]


class SolverReport(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("residual", c_double),
        ("iterations", c_int64),
        ("operator_products", c_int64),
        ("converged", c_int32),
        ("negative_curvature", c_int32),
        ("solver", c_int32),
        ("reserved", c_int32),
        ("gradient_norm", c_double),
        ("solution_norm", c_double),
    ]


class TaskBatch(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("instance_count", c_int64),
        ("instances", c_void_p),
        ("offsets", c_void_p),
        ("rows", c_int64),
        ("outputs", c_int64),
        ("features", c_int64),
        ("predictions", c_void_p),
        ("targets", c_void_p),
        ("inputs", c_void_p),
        ("phase", c_int32),
        ("reserved", c_int32),
        ("context", c_void_p),
        ("context_counts", c_void_p),
    ]


class OracleBatch(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("count", c_int64),
        ("instances", c_void_p),
        ("offsets", c_void_p),
        ("costs", c_void_p),
        ("context", c_void_p),
        ("context_counts", c_void_p),
        ("phase", c_int32),
        ("reserved", c_int32),
    ]


class QuadraticProgram(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("variables", c_int64),
        ("equalities", c_int64),
        ("inequalities", c_int64),
        ("entries", c_int64),
        ("quadratic", REALS),
        ("linear", REALS),
        ("prediction", REALS),
        ("equality_matrix", REALS),
        ("equality_values", REALS),
        ("inequality_matrix", REALS),
        ("inequality_values", REALS),
    ]


class LODLOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("loss", c_int32),
        ("sampling", c_int32),
        ("samples", c_int64),
        ("deviation", c_double),
        ("rank", c_int64),
        ("learning_rate", c_double),
        ("iterations", c_int64),
        ("patience", c_int64),
        ("held_out_share", c_double),
        ("threads", c_int64),
        ("seed", c_uint64),
    ]


class CheckReport(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("verdict", c_int32),
        ("reserved", c_int32),
        ("worst_error", c_double),
        ("noise", c_double),
        ("analytic", c_double),
        ("numeric", c_double),
        ("step", c_double),
        ("scale", c_double),
        ("row", c_int64),
        ("output", c_int64),
        ("directions", c_int64),
    ]


class DecisionReport(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("instances", c_int64),
        ("objective", c_double),
        ("optimal_objective", c_double),
        ("random_objective", c_double),
        ("regret", c_double),
        ("decision_quality", c_double),
        ("objective_lower", c_double),
        ("objective_upper", c_double),
        ("regret_lower", c_double),
        ("regret_upper", c_double),
        ("decision_quality_lower", c_double),
        ("decision_quality_upper", c_double),
        ("mean_squared_error", c_double),
    ]


class Record(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("iteration", c_int64),
        ("task_loss", c_double),
        ("prediction_loss", c_double),
        ("prediction_rmse", c_double),
        ("inner_gradient_norm", c_double),
        ("inner_steps", c_int64),
        ("hypergradient_norm", c_double),
        ("solver_residual", c_double),
        ("solver_iterations", c_int64),
        ("solver_converged", c_int32),
        ("negative_curvature", c_int32),
        ("agreement", c_double),
        ("trusted", c_int32),
        ("is_best", c_int32),
        ("metric_rate", c_double),
        ("rollbacks", c_int64),
        ("rejections", c_int64),
        ("hypergradient_instances", c_int64),
        ("metric_smallest_eigenvalue", c_double),
        ("metric_largest_eigenvalue", c_double),
        ("metric_mean_trace", c_double),
        ("validation_task_loss", c_double),
        ("validation_rmse", c_double),
        ("seconds_inner", c_double),
        ("seconds_task", c_double),
        ("seconds_hypergradient", c_double),
        ("seconds_validation", c_double),
        ("seconds_total", c_double),
    ]


class FitReport(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("reason", c_int32),
        ("reserved", c_int32),
        ("iterations", c_int64),
        ("best_iteration", c_int64),
        ("best_task_loss", c_double),
        ("first_task_loss", c_double),
        ("best_rmse_ratio", c_double),
        ("rollbacks", c_int64),
        ("rejections", c_int64),
        ("untrusted", c_int64),
        ("seconds", c_double),
    ]


class OptionDescription(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("help", c_char_p),
        ("type", c_int32),
        ("fixed_after_start", c_int32),
        ("int_default", c_int64),
        ("int_minimum", c_int64),
        ("int_maximum", c_int64),
        ("double_default", c_double),
        ("double_minimum", c_double),
        ("double_maximum", c_double),
        ("string_default", c_char_p),
        ("choices", c_char_p),
    ]


# ----------------------------------------------------------------------------------------------------------------------
# Callbacks: arrays arrive as addresses, user pointers as numbers

PREDICTOR_MAP = CFUNCTYPE(c_int32, c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_void_p)
PREDICTOR_PRODUCT = CFUNCTYPE(c_int32, c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_void_p, c_void_p)
PREDICTOR_CURVATURE = CFUNCTYPE(c_int32, c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_void_p, c_void_p, c_void_p)
FREE = CFUNCTYPE(None, c_void_p)
READ_FN = CFUNCTYPE(c_int32, c_void_p, c_int64, c_int64, c_void_p, c_void_p)
READ_F32_FN = CFUNCTYPE(c_int32, c_void_p, c_int64, c_int64, c_void_p, c_void_p)
TASK_FN = CFUNCTYPE(c_int32, c_void_p, POINTER(TaskBatch), c_void_p, c_void_p)
LOSSES_FN = CFUNCTYPE(c_int32, c_void_p, POINTER(TaskBatch), c_void_p)
ORACLE_FN = CFUNCTYPE(c_int32, c_void_p, POINTER(OracleBatch), c_void_p)
PROGRESS_FN = CFUNCTYPE(c_int32, c_void_p, POINTER(Record))
LOG_FN = CFUNCTYPE(None, c_void_p, c_int32, c_char_p)
INTERRUPT_FN = CFUNCTYPE(c_int32, c_void_p)


class PredictorCallbacks(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("forward", PREDICTOR_MAP),
        ("vjp", PREDICTOR_PRODUCT),
        ("jvp", PREDICTOR_PRODUCT),
        ("hvp", PREDICTOR_CURVATURE),
    ]


STRUCTS: dict[str, type[Structure]] = {
    "taskmet_predictor_callbacks": PredictorCallbacks,
    "taskmet_inner_options": InnerOptions,
    "taskmet_inner_report": InnerReport,
    "taskmet_solver_options": SolverOptions,
    "taskmet_solver_report": SolverReport,
    "taskmet_task_batch": TaskBatch,
    "taskmet_quadratic_program": QuadraticProgram,
    "taskmet_oracle_batch": OracleBatch,
    "taskmet_lodl_options": LODLOptions,
    "taskmet_check_report": CheckReport,
    "taskmet_decision_report": DecisionReport,
    "taskmet_record": Record,
    "taskmet_fit_report": FitReport,
    "taskmet_option_description": OptionDescription,
}
CALLBACKS = {
    "taskmet_read_fn": READ_FN,
    "taskmet_read_f32_fn": READ_F32_FN,
    "taskmet_task_fn": TASK_FN,
    "taskmet_losses_fn": LOSSES_FN,
    "taskmet_oracle_fn": ORACLE_FN,
    "taskmet_progress_fn": PROGRESS_FN,
    "taskmet_log_fn": LOG_FN,
    "taskmet_interrupt_fn": INTERRUPT_FN,
}


def new_struct(kind: type[Structure]) -> Any:
    """A zeroed struct with its size set, for the library to write into."""
    return kind(struct_size=ctypes.sizeof(kind))


# ----------------------------------------------------------------------------------------------------------------------
# Functions

MATRIX = [REALS, c_int64]  # pointer, row stride
MATRIX_F32 = [POINTER(c_float), c_int64]
VECTOR = [REALS, c_int64]  # pointer, count
LOSS = [HANDLE, HANDLE, HANDLE, c_double]  # predictor, metric, dataset, rho
ROWS = [c_int64, *MATRIX]  # rows, x
USER = [c_void_p, FREE]
CHECK = [c_int64, c_uint64, c_double, REALS, POINTER(CheckReport)]  # directions, seed, tolerance, worst, report


class Status(c_int32):
    """The result type of functions that return a taskmet_status: checked by the loader."""


Prototype = tuple[Any, list[Any]]

# name -> (result, arguments)
FUNCTIONS: dict[str, Prototype] = {
    "taskmet_version": (c_char_p, []),
    "taskmet_abi_version": (c_int32, []),
    "taskmet_status_name": (c_char_p, [c_int32]),
    "taskmet_last_error": (c_char_p, []),
    # Dataset, workspace
    "taskmet_dataset_create": (Status, [c_int64, c_int64, *MATRIX, c_int64, *MATRIX, NEW_HANDLE]),
    "taskmet_dataset_borrow": (Status, [c_int64, c_int64, *MATRIX, c_int64, *MATRIX, FREE, c_void_p, NEW_HANDLE]),
    "taskmet_dataset_create_f32": (Status, [c_int64, c_int64, *MATRIX_F32, c_int64, *MATRIX_F32, NEW_HANDLE]),
    "taskmet_dataset_borrow_f32": (
        Status,
        [c_int64, c_int64, *MATRIX_F32, c_int64, *MATRIX_F32, FREE, c_void_p, NEW_HANDLE],
    ),
    "taskmet_dataset_create_from_callback": (Status, [c_int64, c_int64, c_int64, READ_FN, *USER, NEW_HANDLE]),
    "taskmet_dataset_create_from_callback_f32": (
        Status,
        [c_int64, c_int64, c_int64, READ_F32_FN, *USER, NEW_HANDLE],
    ),
    "taskmet_dataset_create_from_files": (Status, [c_char_p, c_char_p, NEW_HANDLE]),
    "taskmet_dataset_destroy": (None, [HANDLE]),
    "taskmet_dataset_refill": (Status, [HANDLE, *ROWS, *MATRIX, *VECTOR]),
    "taskmet_dataset_refill_f32": (Status, [HANDLE, c_int64, *MATRIX_F32, *MATRIX_F32, *VECTOR]),
    "taskmet_dataset_set_instances": (Status, [HANDLE, c_int64, INTEGERS]),
    "taskmet_dataset_set_weights": (Status, [HANDLE, *VECTOR]),
    "taskmet_dataset_set_context": (Status, [HANDLE, REALS, c_int64, INTEGERS]),
    "taskmet_dataset_shape": (Status, [HANDLE, INTEGERS, INTEGERS, INTEGERS, INTEGERS]),
    "taskmet_dataset_precision": (Status, [HANDLE, POINTER(c_int32)]),
    "taskmet_workspace_create": (Status, [c_int64, c_int64, NEW_HANDLE]),
    "taskmet_workspace_destroy": (None, [HANDLE]),
    # Predictor
    "taskmet_predictor_create_linear": (Status, [c_int64, c_int64, c_int32, NEW_HANDLE]),
    "taskmet_predictor_create_mlp": (
        Status,
        [c_int64, c_int64, c_int64, INTEGERS, c_int32, c_int32, c_uint64, NEW_HANDLE],
    ),
    "taskmet_predictor_create_callback": (
        Status,
        [c_int64, c_int64, *VECTOR, POINTER(PredictorCallbacks), *USER, NEW_HANDLE],
    ),
    "taskmet_predictor_copy": (Status, [HANDLE, NEW_HANDLE]),
    "taskmet_predictor_convert": (Status, [HANDLE, c_int32, NEW_HANDLE]),
    "taskmet_predictor_precision": (Status, [HANDLE, POINTER(c_int32)]),
    "taskmet_predictor_destroy": (None, [HANDLE]),
    "taskmet_predictor_shape": (Status, [HANDLE, INTEGERS, INTEGERS, INTEGERS]),
    "taskmet_predictor_parameter_count": (Status, [HANDLE, INTEGERS]),
    "taskmet_predictor_get_parameters": (Status, [HANDLE, *VECTOR]),
    "taskmet_predictor_set_parameters": (Status, [HANDLE, *VECTOR]),
    "taskmet_predictor_set_penalize_bias": (Status, [HANDLE, c_int32]),
    "taskmet_predictor_set_standardization": (Status, [HANDLE, REALS, REALS, c_int64, REALS, REALS, c_int64]),
    "taskmet_predictor_fit_standardization": (Status, [HANDLE, HANDLE, c_int32]),
    "taskmet_predictor_predict": (Status, [HANDLE, *ROWS, *MATRIX]),
    "taskmet_predictor_vjp": (Status, [HANDLE, *ROWS, *MATRIX, *VECTOR]),
    "taskmet_predictor_jvp": (Status, [HANDLE, *ROWS, *VECTOR, *MATRIX]),
    "taskmet_linearization_create": (Status, [NEW_HANDLE]),
    "taskmet_linearization_destroy": (None, [HANDLE]),
    "taskmet_linearization_update": (Status, [HANDLE, HANDLE, *ROWS, *MATRIX]),
    "taskmet_linearization_vjp": (Status, [HANDLE, *MATRIX, *VECTOR]),
    "taskmet_linearization_input_vjp": (Status, [HANDLE, *MATRIX, *MATRIX]),
    "taskmet_linearization_jvp": (Status, [HANDLE, *VECTOR, *MATRIX]),
    "taskmet_linearization_hvp": (Status, [HANDLE, *MATRIX, *VECTOR, *VECTOR]),
    "taskmet_predictor_save": (Status, [HANDLE, c_char_p]),
    "taskmet_predictor_load": (Status, [c_char_p, NEW_HANDLE]),
    # Metric
    "taskmet_metric_create_constant": (Status, [c_int64, c_int32, c_int64, c_uint64, NEW_HANDLE]),
    "taskmet_metric_create_conditional": (
        Status,
        [c_int64, c_int64, c_int32, c_int64, c_int64, INTEGERS, c_int32, c_uint64, NEW_HANDLE],
    ),
    "taskmet_metric_copy": (Status, [HANDLE, NEW_HANDLE]),
    "taskmet_metric_convert": (Status, [HANDLE, c_int32, NEW_HANDLE]),
    "taskmet_metric_precision": (Status, [HANDLE, POINTER(c_int32)]),
    "taskmet_metric_destroy": (None, [HANDLE]),
    "taskmet_metric_shape": (Status, [HANDLE, INTEGERS, INTEGERS, INTEGERS]),
    "taskmet_metric_parameter_count": (Status, [HANDLE, INTEGERS]),
    "taskmet_metric_get_parameters": (Status, [HANDLE, *VECTOR]),
    "taskmet_metric_set_parameters": (Status, [HANDLE, *VECTOR]),
    "taskmet_metric_set_normalization": (Status, [HANDLE, c_int32]),
    "taskmet_metric_update_normalization": (Status, [HANDLE, *ROWS]),
    "taskmet_metric_get_normalization_scale": (Status, [HANDLE, REALS]),
    "taskmet_metric_set_floor": (Status, [HANDLE, c_double]),
    "taskmet_metric_set_standardization": (Status, [HANDLE, REALS, REALS, c_int64]),
    "taskmet_metric_evaluate": (Status, [HANDLE, *ROWS, *VECTOR]),
    "taskmet_metric_vjp": (Status, [HANDLE, *ROWS, *VECTOR, *VECTOR]),
    "taskmet_metric_regularizer": (Status, [HANDLE, *ROWS, c_double, c_double, REALS, *VECTOR]),
    "taskmet_metric_save": (Status, [HANDLE, c_char_p]),
    "taskmet_metric_load": (Status, [c_char_p, NEW_HANDLE]),
    # Loss, hypergradient
    "taskmet_loss_value": (Status, [*LOSS, REALS]),
    "taskmet_loss_gradient": (Status, [*LOSS, *VECTOR]),
    "taskmet_loss_value_gradient": (Status, [*LOSS, HANDLE, REALS, *VECTOR]),
    "taskmet_loss_hvp": (Status, [*LOSS, *VECTOR, *VECTOR]),
    "taskmet_loss_gnvp": (Status, [*LOSS, *VECTOR, *VECTOR]),
    "taskmet_inner_options_init": (None, [POINTER(InnerOptions)]),
    "taskmet_loss_minimize": (Status, [*LOSS, POINTER(InnerOptions), HANDLE, POINTER(InnerReport)]),
    "taskmet_solver_options_init": (None, [POINTER(SolverOptions)]),
    "taskmet_hypergradient": (Status, [*LOSS, *MATRIX, POINTER(SolverOptions), *VECTOR, POINTER(SolverReport)]),
    "taskmet_hypergradient_from_gradient": (
        Status,
        [*LOSS, *VECTOR, POINTER(SolverOptions), HANDLE, *VECTOR, *VECTOR, POINTER(SolverReport)],
    ),
    "taskmet_hypergradient_check": (
        Status,
        [*LOSS, HANDLE, POINTER(InnerOptions), POINTER(SolverOptions), *CHECK],
    ),
    # Optimisers
    "taskmet_optimizer_create_adam": (Status, [c_int64, c_double, c_double, c_double, c_double, NEW_HANDLE]),
    "taskmet_optimizer_create_sgd": (Status, [c_int64, c_double, c_double, NEW_HANDLE]),
    "taskmet_optimizer_destroy": (None, [HANDLE]),
    "taskmet_optimizer_step": (Status, [HANDLE, *VECTOR, *VECTOR]),
    "taskmet_optimizer_reset": (Status, [HANDLE]),
    "taskmet_optimizer_set_learning_rate": (Status, [HANDLE, c_double]),
    # Tasks
    "taskmet_task_create_callback": (Status, [TASK_FN, *USER, NEW_HANDLE]),
    "taskmet_task_destroy": (None, [HANDLE]),
    "taskmet_task_gradient": (Status, [HANDLE, HANDLE, c_int32, *MATRIX, REALS, *MATRIX]),
    "taskmet_task_get_sense": (Status, [HANDLE, POINTER(c_int32)]),
    "taskmet_task_create_topk": (Status, [c_int64, c_double, c_int32, NEW_HANDLE]),
    "taskmet_task_create_budget_allocation": (Status, [c_int64, c_double, c_int32, NEW_HANDLE]),
    "taskmet_task_create_portfolio": (Status, [c_double, c_double, c_double, c_int32, NEW_HANDLE]),
    "taskmet_task_create_quadratic_program": (Status, [POINTER(QuadraticProgram), c_int32, NEW_HANDLE]),
    "taskmet_task_create_linear_program": (
        Status,
        [c_int64, c_int64, REALS, REALS, c_int32, c_double, NEW_HANDLE],
    ),
    "taskmet_task_create_spo_plus": (Status, [c_int32, ORACLE_FN, *USER, NEW_HANDLE]),
    "taskmet_task_create_perturbed": (
        Status,
        [c_int32, ORACLE_FN, *USER, c_int32, c_int64, c_double, c_uint64, NEW_HANDLE],
    ),
    "taskmet_task_create_blackbox": (Status, [c_int32, ORACLE_FN, *USER, c_double, NEW_HANDLE]),
    "taskmet_task_create_finite_difference": (Status, [LOSSES_FN, *USER, c_double, NEW_HANDLE]),
    "taskmet_task_create_score_function": (
        Status,
        [LOSSES_FN, *USER, c_int64, c_double, c_uint64, NEW_HANDLE],
    ),
    "taskmet_lodl_options_init": (None, [POINTER(LODLOptions)]),
    "taskmet_task_create_lodl": (Status, [HANDLE, HANDLE, POINTER(LODLOptions), NEW_HANDLE]),
    "taskmet_task_lodl_fit_quality": (Status, [HANDLE, REALS]),
    "taskmet_task_check_gradient": (Status, [HANDLE, HANDLE, *MATRIX, *CHECK]),
    "taskmet_task_evaluate": (Status, [HANDLE, HANDLE, HANDLE, REALS, *VECTOR, *VECTOR]),
    "taskmet_task_decision_count": (Status, [HANDLE, HANDLE, INTEGERS]),
    "taskmet_task_decision_quality": (
        Status,
        [HANDLE, HANDLE, *MATRIX, c_int64, c_int64, c_double, c_uint64, POINTER(DecisionReport)],
    ),
    # Trainer
    "taskmet_trainer_create": (Status, [HANDLE, HANDLE, HANDLE, NEW_HANDLE]),
    "taskmet_trainer_destroy": (None, [HANDLE]),
    "taskmet_trainer_add_task": (Status, [HANDLE, HANDLE, c_double]),
    "taskmet_trainer_set_validation": (Status, [HANDLE, HANDLE]),
    "taskmet_trainer_set_int": (Status, [HANDLE, c_char_p, c_int64]),
    "taskmet_trainer_set_double": (Status, [HANDLE, c_char_p, c_double]),
    "taskmet_trainer_set_string": (Status, [HANDLE, c_char_p, c_char_p]),
    "taskmet_trainer_get_int": (Status, [HANDLE, c_char_p, INTEGERS]),
    "taskmet_trainer_get_double": (Status, [HANDLE, c_char_p, REALS]),
    "taskmet_trainer_get_string": (Status, [HANDLE, c_char_p, POINTER(c_char_p)]),
    "taskmet_option_count": (c_int64, []),
    "taskmet_option_info": (Status, [c_int64, POINTER(OptionDescription)]),
    "taskmet_trainer_set_progress": (Status, [HANDLE, PROGRESS_FN, c_void_p]),
    "taskmet_trainer_set_log": (Status, [HANDLE, LOG_FN, c_void_p]),
    "taskmet_trainer_set_interrupt": (Status, [HANDLE, INTERRUPT_FN, c_void_p]),
    "taskmet_trainer_step": (Status, [HANDLE, POINTER(Record)]),
    "taskmet_trainer_fit": (Status, [HANDLE, POINTER(FitReport)]),
    "taskmet_trainer_stop": (None, [HANDLE]),
    "taskmet_trainer_clear_stop": (None, [HANDLE]),
    "taskmet_trainer_copy_predictor": (Status, [HANDLE, c_int32, NEW_HANDLE]),
    "taskmet_trainer_copy_metric": (Status, [HANDLE, c_int32, NEW_HANDLE]),
    "taskmet_trainer_history_count": (Status, [HANDLE, INTEGERS]),
    "taskmet_trainer_history_get": (Status, [HANDLE, c_int64, POINTER(Record)]),
    "taskmet_trainer_explain": (Status, [HANDLE, c_char_p, c_int64, INTEGERS]),
    "taskmet_trainer_save": (Status, [HANDLE, c_char_p]),
    "taskmet_trainer_load": (Status, [HANDLE, c_char_p]),
}


# ----------------------------------------------------------------------------------------------------------------------
# The library


def library_path() -> pathlib.Path:
    """The file named by TASKMET_LIBRARY, else the one in the package."""
    named = os.environ.get("TASKMET_LIBRARY")
    path = pathlib.Path(named) if named else pathlib.Path(__file__).with_name("libtaskmet.so")
    if not path.exists():
        source = "TASKMET_LIBRARY" if named else "the package carries no library; TASKMET_LIBRARY may name one"
        raise ImportError(f"{path} does not exist ({source})")
    return path


class Library:
    """The loaded library: functions under their C names without ``taskmet_``; statuses are checked."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self._dll = ctypes.CDLL(str(path))
        self._check_abi()
        #: Functions of the header that this library lacks.
        self.missing: list[str] = []
        for name, (result, arguments) in FUNCTIONS.items():
            setattr(self, name.removeprefix("taskmet_"), self._bind(name, result, arguments))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the C API has no function taskmet_{name}")

    def _check_abi(self) -> None:
        abi_version = self._dll.taskmet_abi_version
        abi_version.restype, abi_version.argtypes = c_int32, []
        if abi_version() != ABI_VERSION:
            raise ImportError(f"{self.path} has ABI {abi_version()}; this package needs {ABI_VERSION}")

    def _bind(self, name: str, result: Any, arguments: list[Any]) -> Callable[..., Any]:
        try:
            function = getattr(self._dll, name)
        except AttributeError:
            self.missing.append(name)
            return self._refuse(name)
        function.argtypes = arguments
        function.restype = c_int32 if result is Status else result
        if result is Status:
            function.errcheck = self._check
        return function

    def _refuse(self, name: str) -> Callable[..., Any]:
        def refuse(*_: Any) -> Any:
            raise UnsupportedError(STATUSES["error_unsupported"], f"{self.path} has no function {name}")

        return refuse

    def _check(self, status: int, function: Any, arguments: Any) -> None:
        if status != 0:
            raise self.error(status)

    def error(self, status: int) -> TaskMetError:
        """What a status stands for, with this thread's last message."""
        return error_for(status, self.last_error().decode())


library = Library(library_path())
