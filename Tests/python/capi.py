"""The C API through ctypes, as include/taskmet.h declares it, for the tests.

Arrays are NumPy float64; a matrix may have any row stride, its rows must be contiguous. Every function raises
TaskMetError when its status is not TASKMET_OK. The library is the file named by TASKMET_LIBRARY, else the repository's
release build.
"""

import ctypes
import os
import pathlib
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint64, c_void_p

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HEADER = REPOSITORY / "include" / "taskmet.h"
DEFAULT_LIBRARY = REPOSITORY / ".build" / "release" / "libtaskmet.so"

ACTIVATIONS = {
    name: value
    for value, name in enumerate(
        ["identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "elu", "gelu", "silu"]
    )
}
STRUCTURES = {"scalar": 0, "diagonal": 1, "lowrank": 2, "full": 3}
NORMALIZATIONS = {"none": 0, "frobenius": 1, "trace": 2, "batch_trace": 3}
SOLVERS = {
    "cg": 0,
    "normal_cg": 1,
    "minres": 2,
    "neumann": 3,
    "dense": 4,
    "gauss_newton_cg": 5,
    "identity": 6,
}

# ----------------------------------------------------------------------------------------------------------------------
# Declarations


class SolverOptions(ctypes.Structure):
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


class SolverReport(ctypes.Structure):
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


STRUCTS = {"taskmet_solver_options": SolverOptions, "taskmet_solver_report": SolverReport}

REALS, INT64S, HANDLE, NEW_HANDLE = POINTER(c_double), POINTER(c_int64), c_void_p, POINTER(c_void_p)
MATRIX = [REALS, c_int64]  # pointer, row stride
VECTOR = [REALS, c_int64]  # pointer, count
LOSS = [HANDLE, HANDLE, HANDLE, c_double]  # predictor, metric, dataset, rho
OPTIONS, REPORT = POINTER(SolverOptions), POINTER(SolverReport)

# name -> (result, arguments); result c_int32 is a status
PROTOTYPES = {
    "taskmet_version": (c_char_p, []),
    "taskmet_abi_version": (c_int32, []),
    "taskmet_status_name": (c_char_p, [c_int32]),
    "taskmet_last_error": (c_char_p, []),
    "taskmet_dataset_create": (c_int32, [c_int64, c_int64, *MATRIX, c_int64, *MATRIX, NEW_HANDLE]),
    "taskmet_dataset_destroy": (None, [HANDLE]),
    "taskmet_dataset_set_weights": (c_int32, [HANDLE, *VECTOR]),
    "taskmet_workspace_create": (c_int32, [c_int64, c_int64, NEW_HANDLE]),
    "taskmet_workspace_destroy": (None, [HANDLE]),
    "taskmet_predictor_create_linear": (c_int32, [c_int64, c_int64, c_int32, NEW_HANDLE]),
    "taskmet_predictor_create_mlp": (
        c_int32,
        [c_int64, c_int64, c_int64, INT64S, c_int32, c_int32, c_uint64, NEW_HANDLE],
    ),
    "taskmet_predictor_destroy": (None, [HANDLE]),
    "taskmet_predictor_shape": (c_int32, [HANDLE, INT64S, INT64S, INT64S]),
    "taskmet_predictor_parameter_count": (c_int32, [HANDLE, INT64S]),
    "taskmet_predictor_get_parameters": (c_int32, [HANDLE, *VECTOR]),
    "taskmet_predictor_set_parameters": (c_int32, [HANDLE, *VECTOR]),
    "taskmet_predictor_set_penalize_bias": (c_int32, [HANDLE, c_int32]),
    "taskmet_predictor_set_standardization": (
        c_int32,
        [HANDLE, REALS, REALS, c_int64, REALS, REALS, c_int64],
    ),
    "taskmet_predictor_fit_standardization": (c_int32, [HANDLE, HANDLE, c_int32]),
    "taskmet_predictor_predict": (c_int32, [HANDLE, c_int64, *MATRIX, *MATRIX]),
    "taskmet_predictor_vjp": (c_int32, [HANDLE, c_int64, *MATRIX, *MATRIX, *VECTOR]),
    "taskmet_predictor_jvp": (c_int32, [HANDLE, c_int64, *MATRIX, *VECTOR, *MATRIX]),
    "taskmet_predictor_save": (c_int32, [HANDLE, c_char_p]),
    "taskmet_predictor_load": (c_int32, [c_char_p, NEW_HANDLE]),
    "taskmet_metric_create_constant": (c_int32, [c_int64, c_int32, c_int64, c_uint64, NEW_HANDLE]),
    "taskmet_metric_create_conditional": (
        c_int32,
        [c_int64, c_int64, c_int32, c_int64, c_int64, INT64S, c_int32, c_uint64, NEW_HANDLE],
    ),
    "taskmet_metric_destroy": (None, [HANDLE]),
    "taskmet_metric_shape": (c_int32, [HANDLE, INT64S, INT64S, INT64S]),
    "taskmet_metric_parameter_count": (c_int32, [HANDLE, INT64S]),
    "taskmet_metric_get_parameters": (c_int32, [HANDLE, *VECTOR]),
    "taskmet_metric_set_parameters": (c_int32, [HANDLE, *VECTOR]),
    "taskmet_metric_set_normalization": (c_int32, [HANDLE, c_int32]),
    "taskmet_metric_update_normalization": (c_int32, [HANDLE, c_int64, *MATRIX]),
    "taskmet_metric_get_normalization_scale": (c_int32, [HANDLE, REALS]),
    "taskmet_metric_set_floor": (c_int32, [HANDLE, c_double]),
    "taskmet_metric_set_standardization": (c_int32, [HANDLE, REALS, REALS, c_int64]),
    "taskmet_metric_evaluate": (c_int32, [HANDLE, c_int64, *MATRIX, *VECTOR]),
    "taskmet_metric_vjp": (c_int32, [HANDLE, c_int64, *MATRIX, *VECTOR, *VECTOR]),
    "taskmet_metric_regularizer": (
        c_int32,
        [HANDLE, c_int64, *MATRIX, c_double, c_double, REALS, *VECTOR],
    ),
    "taskmet_metric_save": (c_int32, [HANDLE, c_char_p]),
    "taskmet_metric_load": (c_int32, [c_char_p, NEW_HANDLE]),
    "taskmet_loss_value": (c_int32, [*LOSS, REALS]),
    "taskmet_loss_gradient": (c_int32, [*LOSS, *VECTOR]),
    "taskmet_loss_value_gradient": (c_int32, [*LOSS, HANDLE, REALS, *VECTOR]),
    "taskmet_loss_hvp": (c_int32, [*LOSS, *VECTOR, *VECTOR]),
    "taskmet_loss_gnvp": (c_int32, [*LOSS, *VECTOR, *VECTOR]),
    "taskmet_solver_options_init": (None, [OPTIONS]),
    "taskmet_hypergradient": (c_int32, [*LOSS, *MATRIX, OPTIONS, *VECTOR, REPORT]),
    "taskmet_hypergradient_from_gradient": (
        c_int32,
        [*LOSS, *VECTOR, OPTIONS, HANDLE, *VECTOR, *VECTOR, REPORT],
    ),
    "taskmet_optimizer_create_adam": (c_int32, [c_int64, c_double, c_double, c_double, c_double, NEW_HANDLE]),
    "taskmet_optimizer_create_sgd": (c_int32, [c_int64, c_double, c_double, NEW_HANDLE]),
    "taskmet_optimizer_destroy": (None, [HANDLE]),
    "taskmet_optimizer_step": (c_int32, [HANDLE, *VECTOR, *VECTOR]),
    "taskmet_optimizer_reset": (c_int32, [HANDLE]),
    "taskmet_optimizer_set_learning_rate": (c_int32, [HANDLE, c_double]),
}


class TaskMetError(RuntimeError):
    """A status that is not TASKMET_OK, with the library's message."""

    def __init__(self, status, name, message):
        super().__init__(f"{name}: {message}")
        self.status = status


class Library:
    """The loaded library: functions under their C names without `taskmet_`; statuses are checked."""

    def __init__(self, path):
        self._dll = ctypes.CDLL(str(path))
        for name, (result, arguments) in PROTOTYPES.items():
            function = getattr(self._dll, name)
            function.restype, function.argtypes = result, arguments
            if result is c_int32 and name != "taskmet_abi_version":
                function.errcheck = self._errcheck
            setattr(self, name.removeprefix("taskmet_"), function)

    def _errcheck(self, status, function, arguments):
        self.check(status)
        return status

    def check(self, status):
        """Raises TaskMetError, with the thread's last message, for any status but TASKMET_OK."""
        if status != 0:
            raise TaskMetError(status, self.status_name(status).decode(), self.last_error().decode())


_loaded = None


def library():
    """The library, loaded at the first call."""
    global _loaded
    if _loaded is None:
        path = pathlib.Path(os.environ.get("TASKMET_LIBRARY", DEFAULT_LIBRARY))
        if not path.exists():
            raise FileNotFoundError(f"{path}: not built; run `swift build -c release` or set TASKMET_LIBRARY")
        _loaded = Library(path)
    return _loaded


# ----------------------------------------------------------------------------------------------------------------------
# Arrays


def pointer(array):
    """The address of a float64 array's first element; None stays NULL."""
    if array is None:
        return None
    assert array.dtype == np.float64
    return array.ctypes.data_as(REALS)


def vector(array):
    """(pointer, count) of a contiguous array, whatever its shape; (NULL, 0) for None."""
    if array is None:
        return None, 0
    assert array.flags.c_contiguous
    return pointer(array), array.size


def matrix(array):
    """(pointer, row stride in elements) of a matrix with contiguous rows; (NULL, 0) for None."""
    if array is None:
        return None, 0
    assert array.ndim == 2 and (array.shape[1] == 1 or array.strides[1] == array.itemsize)
    assert array.strides[0] % array.itemsize == 0
    # numpy may give a matrix of one row any stride
    stride = array.strides[0] // array.itemsize if len(array) > 1 else max(array.shape[1], 1)
    return pointer(array), stride


def reals(values):
    """A contiguous float64 array; None stays None."""
    return None if values is None else np.ascontiguousarray(values, dtype=np.float64)


def padded(values, padding, fill=np.nan):
    """A view of a copy of the matrix whose rows are followed by `padding` elements that hold `fill`."""
    values = np.asarray(values, dtype=np.float64)
    buffer = np.full((len(values), values.shape[1] + padding), fill)
    buffer[:, : values.shape[1]] = values
    return buffer[:, : values.shape[1]]


def integers(values):
    """(count, pointer) of int64 numbers; the pointer is NULL where there are none."""
    return len(values), (c_int64 * len(values))(*values) if values else None


# ----------------------------------------------------------------------------------------------------------------------
# Objects


class Object:
    """Owns one handle; `kind` names its functions."""

    kind = ""

    def __init__(self, constructor, *arguments):
        self.handle = c_void_p()
        getattr(library(), f"{self.kind}_{constructor}")(*arguments, ctypes.byref(self.handle))

    def __del__(self):
        if getattr(self, "handle", None):
            self.call("destroy")
            self.handle = None

    def call(self, function, *arguments):
        return getattr(library(), f"{self.kind}_{function}")(self.handle, *arguments)


class Parametrized(Object):
    """What predictors and metrics share."""

    @property
    def parameters(self):
        count = c_int64()
        self.call("parameter_count", ctypes.byref(count))
        out = np.empty(count.value)
        self.call("get_parameters", *vector(out))
        return out

    @parameters.setter
    def parameters(self, values):
        self.call("set_parameters", *vector(reals(values)))

    @property
    def shape(self):
        """(inputs, outputs, parameter count)."""
        sizes = [c_int64(), c_int64(), c_int64()]
        self.call("shape", *map(ctypes.byref, sizes))
        return tuple(size.value for size in sizes)

    def save(self, path):
        self.call("save", os.fsencode(path))

    @classmethod
    def load(cls, path):
        return cls("load", os.fsencode(path))


class Dataset(Object):
    kind = "dataset"

    def __init__(self, x, y, weights=None):
        """x: N x d, y: N x n, weights: N or None."""
        super().__init__("create", len(x), x.shape[1], *matrix(x), y.shape[1], *matrix(y))
        if weights is not None:
            self.call("set_weights", *vector(reals(weights)))


class Workspace(Object):
    kind = "workspace"

    def __init__(self, threads=1, metric_cache_bytes=0):
        super().__init__("create", threads, metric_cache_bytes)


class Predictor(Parametrized):
    kind = "predictor"

    @classmethod
    def linear(cls, inputs, outputs, bias):
        return cls("create_linear", inputs, outputs, bias)

    @classmethod
    def mlp(cls, inputs, outputs, hidden, activation, output_activation="identity", seed=0):
        return cls(
            "create_mlp",
            inputs,
            outputs,
            *integers(hidden),
            ACTIVATIONS[activation],
            ACTIVATIONS[output_activation],
            seed,
        )

    def set_standardization(self, input_mean, input_scale, target_mean, target_scale):
        values = [reals(v) for v in (input_mean, input_scale, target_mean, target_scale)]
        counts = [0 if v is None else len(v) for v in values]
        pointers = [pointer(v) for v in values]
        self.call("set_standardization", *pointers[:2], counts[0], *pointers[2:], counts[2])

    def fit_standardization(self, dataset, what):
        """what: 1 inputs, 2 targets, 3 both."""
        self.call("fit_standardization", dataset.handle, what)

    def predict(self, x, out):
        self.call("predict", len(x), *matrix(x), *matrix(out))
        return out

    def vjp(self, x, c):
        """sum_i J_i' c_i."""
        out = np.empty(self.shape[2])
        self.call("vjp", len(x), *matrix(x), *matrix(c), *vector(out))
        return out

    def jvp(self, x, w, out):
        """J_i w in the rows of out."""
        self.call("jvp", len(x), *matrix(x), *vector(w), *matrix(out))
        return out


class Metric(Parametrized):
    kind = "metric"

    @classmethod
    def constant(cls, outputs, structure, rank=0, seed=0):
        return cls("create_constant", outputs, STRUCTURES[structure], rank, seed)

    @classmethod
    def conditional(cls, inputs, outputs, structure, rank, hidden, activation, seed=0):
        return cls(
            "create_conditional",
            inputs,
            outputs,
            STRUCTURES[structure],
            rank,
            *integers(hidden),
            ACTIVATIONS[activation],
            seed,
        )

    def set_normalization(self, name):
        self.call("set_normalization", NORMALIZATIONS[name])

    def update_normalization(self, x):
        self.call("update_normalization", len(x), *matrix(x))

    @property
    def normalization_scale(self):
        scale = c_double()
        self.call("get_normalization_scale", ctypes.byref(scale))
        return scale.value

    def set_floor(self, floor):
        self.call("set_floor", floor)

    def set_standardization(self, mean, scale):
        mean, scale = reals(mean), reals(scale)
        self.call("set_standardization", pointer(mean), pointer(scale), len(mean))

    def evaluate(self, x):
        """Lambda(x_i): N x n x n."""
        n = self.shape[1]
        out = np.empty((len(x), n, n))
        self.call("evaluate", len(x), *matrix(x), *vector(out))
        return out

    def vjp(self, x, cotangent):
        """sum_i <C_i, dLambda(x_i)/dphi>, C: N x n x n."""
        out = np.empty(self.shape[2])
        self.call("vjp", len(x), *matrix(x), *vector(reals(cotangent)), *vector(out))
        return out

    def regularizer(self, x, b1, b2):
        """(value, gradient in phi)."""
        value, out = c_double(), np.empty(self.shape[2])
        self.call("regularizer", len(x), *matrix(x), b1, b2, ctypes.byref(value), *vector(out))
        return value.value, out


class Optimizer(Object):
    kind = "optimizer"

    @classmethod
    def adam(cls, count, rate, beta1, beta2, epsilon):
        return cls("create_adam", count, rate, beta1, beta2, epsilon)

    @classmethod
    def sgd(cls, count, rate, momentum):
        return cls("create_sgd", count, rate, momentum)

    def step(self, gradient, parameters):
        """Changes parameters in place."""
        self.call("step", *vector(reals(gradient)), *vector(parameters))

    def reset(self):
        self.call("reset")

    def set_learning_rate(self, rate):
        self.call("set_learning_rate", rate)


def solver_options(solver, **fields):
    """Initialised options with the given fields changed."""
    options = SolverOptions()
    library().solver_options_init(ctypes.byref(options))
    options.solver = SOLVERS[solver]
    for name, value in fields.items():
        setattr(options, name, value)
    return options


class Loss:
    """L_pred and the hypergradient of (predictor, metric, dataset, rho)."""

    def __init__(self, predictor, metric, dataset, rho):
        self.predictor, self.metric, self.dataset, self.rho = predictor, metric, dataset, rho

    def call(self, function, *arguments):
        handles = self.predictor.handle, self.metric.handle, self.dataset.handle
        getattr(library(), function)(*handles, self.rho, *arguments)

    def value(self):
        value = c_double()
        self.call("loss_value", ctypes.byref(value))
        return value.value

    def gradient(self):
        out = np.empty(self.predictor.shape[2])
        self.call("loss_gradient", *vector(out))
        return out

    def value_gradient(self, workspace=None):
        value, out = c_double(), np.empty(self.predictor.shape[2])
        self.call("loss_value_gradient", workspace and workspace.handle, ctypes.byref(value), *vector(out))
        return value.value, out

    def hvp(self, w):
        out = np.empty(self.predictor.shape[2])
        self.call("loss_hvp", *vector(w), *vector(out))
        return out

    def gnvp(self, w):
        out = np.empty(self.predictor.shape[2])
        self.call("loss_gnvp", *vector(w), *vector(out))
        return out

    def hypergradient(self, c, options):
        """(dL_task/dphi, report) from c: N x n."""
        out, report = np.empty(self.metric.shape[2]), SolverReport(struct_size=ctypes.sizeof(SolverReport))
        self.call("hypergradient", *matrix(c), ctypes.byref(options), *vector(out), ctypes.byref(report))
        return out, report

    def hypergradient_from_gradient(self, g, options, v=None, workspace=None):
        """(dL_task/dphi, report) from g = grad_theta L_task; v, if given, is the solver's start and its result."""
        out, report = np.empty(self.metric.shape[2]), SolverReport(struct_size=ctypes.sizeof(SolverReport))
        self.call(
            "hypergradient_from_gradient",
            *vector(g),
            ctypes.byref(options),
            workspace and workspace.handle,
            *vector(v),
            *vector(out),
            ctypes.byref(report),
        )
        return out, report
