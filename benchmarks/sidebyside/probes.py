"""What the machine can do: the rate of OpenBLAS's matrix product and the bandwidth of a copy, and what machine it is.

The floor of a row is max(operations / rate, bytes / bandwidth). Both are measured between the contestants' runs, on as
many threads, so that a busy machine slows the floor as it slows them. The copied arrays are as large as the row's own
data: what fits into a cache is compared with the cache's bandwidth.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import functools
import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

ORDER = 512
LEAST_BYTES, MOST_BYTES = 1 << 18, 1 << 27
PRODUCT, COPY = "matrix product", "copy"
ROW_MAJOR, NO_TRANSPOSE = 101, 111


def _mapped(part: str) -> list[str]:
    """Files in this process's memory that have `part` in their name."""
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if "/" in line}
    return sorted(path for path in paths if part in path.rsplit("/", 1)[-1])


def library_path() -> str:
    """The libtaskmet.so that is measured."""
    import taskmet  # noqa: F401, loads it

    return _mapped("libtaskmet")[0]


@functools.cache
def openblas() -> ctypes.CDLL:
    """The OpenBLAS that libtaskmet is linked with: the one in this process that is not part of NumPy or SciPy."""
    library_path()
    for path in _mapped("blas"):
        if "scipy" not in path and "numpy" not in path and hasattr(library := ctypes.CDLL(path), "cblas_dgemm"):
            return library
    raise RuntimeError("no OpenBLAS is loaded beside NumPy's: the library has none?")


def core_name() -> str:
    """What OpenBLAS takes the processor for."""
    function = openblas().openblas_get_corename
    function.restype = ctypes.c_char_p
    return function().decode()


def machine() -> dict[str, Any]:
    """What a reader needs to know about the machine and its load."""
    model = "unknown"
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "openblas_core": core_name(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def _product(precision: str) -> Callable[[], None]:
    kind, scalar, name = {
        "float64": (np.float64, ctypes.c_double, "cblas_dgemm"),
        "float32": (np.float32, ctypes.c_float, "cblas_sgemm"),
    }[precision]
    function = getattr(openblas(), name)
    n = ctypes.c_int(ORDER)
    generator = np.random.default_rng(1)
    a, b = (generator.standard_normal((ORDER, ORDER)).astype(kind) for _ in range(2))
    c = np.zeros((ORDER, ORDER), kind)
    matrices = [ctypes.c_void_p(matrix.ctypes.data) for matrix in (a, b, c)]

    def multiply() -> None:
        _ = a, b, c  # the addresses are these arrays'
        function(
            *(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, n, n, n, scalar(1), matrices[0], n, matrices[1], n),
            *(scalar(0), matrices[2], n),
        )

    return multiply


def _copy(size: int) -> tuple[Callable[[], None], int]:
    """A copy that moves about ``size`` bytes (read and written ones together), and how many it moves."""
    half = min(max(size, LEAST_BYTES), MOST_BYTES) // 2
    source, target = np.ones(half, np.uint8), np.zeros(half, np.uint8)
    times = max(1, (1 << 22) // half)

    def copy() -> None:
        for _ in range(times):
            ctypes.memmove(target.ctypes.data, source.ctypes.data, half)

    return copy, 2 * half * times


class Probes:
    """One matrix product and one copy on each of some threads, as contestants beside a row's own.

    ``size`` is the row's data in bytes.
    """

    def __init__(self, precision: str, threads: int, size: float):
        self._threads = threads
        self._pool = concurrent.futures.ThreadPoolExecutor(threads) if threads > 1 else None
        products = [_product(precision) for _ in range(threads)]
        copies, moved = zip(*(_copy(int(size) // threads) for _ in range(threads)), strict=True)
        self._work = {PRODUCT: 2.0 * ORDER**3 * threads, COPY: float(sum(moved))}
        self.samplers = {PRODUCT: lambda: self._spent(products), COPY: lambda: self._spent(copies)}
        for sampler in self.samplers.values():
            sampler()

    def _spent(self, functions: Sequence[Callable[[], None]]) -> tuple[float, float]:
        wall, processor = time.perf_counter(), time.process_time()
        if self._pool is None:
            functions[0]()
        else:
            list(self._pool.map(lambda function: function(), functions))
        return time.perf_counter() - wall, time.process_time() - processor

    def rates(self, seconds: dict[str, float], clock: str) -> dict[str, float]:
        """Rates of all threads together, from a sampler's seconds by one clock."""
        share = self._threads if clock == "processor" else 1  # processor seconds of several threads add up
        return {
            "flops_per_second": self._work[PRODUCT] * share / seconds[PRODUCT],
            "bytes_per_second": self._work[COPY] * share / seconds[COPY],
        }
