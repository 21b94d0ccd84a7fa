"""The library in a process with NumPy, SciPy and, where it is asked for, PyTorch, in any order of loading, with a
second copy of itself: everybody's results stay what they are, and so do their numbers of threads.

usage: host_together.py LIBRARY COPY [torch]
"""

import ctypes
import multiprocessing
import os
import subprocess
import sys

import numpy as np

POINTER = ctypes.c_void_p


class Library:
    """A copy of the library, for training one small network on data of its own."""

    def __init__(self, path):
        self.functions = ctypes.CDLL(path)
        self.functions.taskmet_last_error.restype = ctypes.c_char_p

    def call(self, name, *arguments):
        status = getattr(self.functions, name)(*arguments)
        if status != 0:
            raise RuntimeError(self.functions.taskmet_last_error().decode())

    def train(self, threads=2):
        """The network's parameters after some steps, from nothing."""
        rows, features, hidden = 900, 3, ctypes.c_int64(8)
        x = np.sin(np.arange(rows * features, dtype=np.float64)).reshape(rows, features)
        y = np.ascontiguousarray(x[:, 0] ** 2 - x[:, 2])
        handles = [POINTER() for _ in range(4)]
        data, predictor, metric, workspace = handles
        int64, address = ctypes.c_int64, ctypes.byref
        self.call("taskmet_dataset_create", int64(rows), int64(features), POINTER(x.ctypes.data), int64(features),
                  int64(1), POINTER(y.ctypes.data), int64(1), address(data))  # fmt: skip
        self.call("taskmet_predictor_create_mlp", int64(features), int64(1), int64(1), address(hidden),
                  ctypes.c_int32(3), ctypes.c_int32(0), ctypes.c_uint64(1), address(predictor))  # fmt: skip
        self.call("taskmet_metric_create_constant", int64(1), ctypes.c_int32(0), int64(1), ctypes.c_uint64(1),
                  address(metric))  # fmt: skip
        self.call("taskmet_workspace_create", int64(threads), int64(0), address(workspace))
        self.call("taskmet_loss_minimize", predictor, metric, data, ctypes.c_double(1e-3), None, workspace, None)
        theta = np.empty(features * 8 + 8 + 8 + 1)
        self.call("taskmet_predictor_get_parameters", predictor, POINTER(theta.ctypes.data), int64(theta.size))
        for name, handle in zip(["dataset", "predictor", "metric", "workspace"], handles, strict=True):
            destroy = getattr(self.functions, f"taskmet_{name}_destroy")
            destroy.restype = None
            destroy(handle)
        return theta


def numpy_result():
    a = np.cos(np.arange(250_000.0)).reshape(500, 500)
    return np.linalg.solve(a + 500 * np.eye(500), a @ a)


def scipy_result():
    import scipy.linalg

    a = np.cos(np.arange(40_000.0)).reshape(200, 200)
    return scipy.linalg.eigvalsh(a + a.T)


def torch_result():
    import torch

    x = torch.linspace(-1, 1, 1000, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((x.outer(x) @ x).sum(), x)
    return gradient.numpy()


def torch_threads():
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


def check_order(order, libraries):
    """In a fresh process: everybody once in this order, then once more, and in a forked child."""
    results = {}
    loaded = {}

    def run(name):
        if name in libraries:
            loaded.setdefault(name, Library(libraries[name]))
            return loaded[name].train()
        return {"numpy": numpy_result, "scipy": scipy_result, "torch": torch_result}[name]()

    for name in order:
        results[name] = run(name)
    threads = torch_threads()
    for name in reversed(order):
        assert np.array_equal(run(name), results[name]), f"{name} gives other numbers the second time"
    assert torch_threads() == threads, "PyTorch's number of threads has changed"
    assert np.array_equal(results["library"], results["copy"]), "the two copies differ"
    arguments = (loaded["library"], results["library"])
    child = multiprocessing.get_context("fork").Process(target=check_child, args=arguments)
    child.start()
    child.join(120)
    assert child.exitcode == 0, f"the forked child ended with {child.exitcode}"
    sys.stdout.buffer.write(results["library"].tobytes())


def check_child(library, expected):
    assert np.array_equal(library.train(), expected), "a forked child gives other numbers"


def main():
    libraries = {"library": sys.argv[1], "copy": sys.argv[2]}
    if os.environ.get("ORDER"):
        check_order(os.environ["ORDER"].split(","), libraries)
        return 0
    others = ["numpy", "scipy", *sys.argv[3:]]
    orders = [[*others, "library", "copy"], ["library", *others, "copy"], ["copy", "library", *others]]
    outputs, failed = [], 0
    for order in orders:
        environment = {**os.environ, "ORDER": ",".join(order)}
        result = subprocess.run([sys.executable, *sys.argv], env=environment, capture_output=True, check=False)
        outputs.append(result.stdout)
        if result.returncode != 0 or result.stderr:
            failed += 1
            print("FAILED:", ", ".join(order), "\n", result.stderr.decode())
    if len(set(outputs)) != 1:
        failed += 1
        print("FAILED: the library's numbers depend on the order of loading")
    print(f"{len(orders) + 1 - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
