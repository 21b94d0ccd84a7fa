"""What a task in Python costs beside the same task in C: the fit of the grid scheduling example, with each.

    python benchmarks/callback_overhead.py pjm_load_data_2008-11.txt [--iterations 40] [--repeats 5]

Both fits take the same steps; the least processor time of the repeats counts. Needs the package, and a C compiler. With
OPENBLAS_NUM_THREADS=1 waiting threads do not count in.
"""

import argparse
import ctypes
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import taskmet
from taskmet import _native
from taskmet._handles import create

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bindings" / "python" / "examples"))
import grid_scheduling

SOURCE = """
#include <taskmet.h>
int32_t cost(void *user, const taskmet_task_batch *batch, double *loss, double *gradient)
{
    int64_t count = batch->rows * batch->outputs;
    double sum = 0;
    (void)user;
    for (int64_t i = 0; i < count; i++) {
        double e = batch->predictions[i] - batch->targets[i], slope = e < 0 ? -50 : 0.5;
        sum += slope * e + 0.5 * e * e;
        if (gradient) gradient[i] = ((e == 0 ? -24.75 : slope) + e) / (double)count;
    }
    *loss = sum / (double)count;
    return TASKMET_CALLBACK_OK;
}
"""


class CTask(taskmet.Task):
    """The cost in C."""

    def __init__(self, directory):
        source, compiled = pathlib.Path(directory, "cost.c"), pathlib.Path(directory, "cost.so")
        source.write_text(SOURCE)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", f"-I{ROOT / 'include'}", source, "-o", compiled], check=True)
        self._function = ctypes.cast(ctypes.CDLL(str(compiled)).cost, _native.TASK_FN)

    def _make(self):
        return create(_native.library.task_create_callback, self._function, None, _native.FREE())


def fit(task, training, validation, iterations):
    """(processor seconds, last task loss) of a fit: time that other programs don't count in."""
    features = training[0].shape[1]
    metric = taskmet.Metric.conditional(features, 24, "diagonal", hidden=[64], activation="relu", seed=1)
    data = (taskmet.Dataset(*training), task, taskmet.Dataset(*validation))
    options = {"rho": 2e-2, "metric_rate": 0.003, "outer_iterations": iterations, "patience": 0}
    with taskmet.Trainer(taskmet.Linear(features, 24), metric, *data, **options) as trainer:
        start = time.process_time()
        trainer.fit()
        return time.process_time() - start, trainer.records[-1].task_loss


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path")
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    training, validation, _ = grid_scheduling.split(
        *grid_scheduling.make_rows(grid_scheduling.read_days(arguments.path))
    )
    with tempfile.TemporaryDirectory() as directory:
        tasks = {"C": CTask(directory), "Python": taskmet.CallbackTask(grid_scheduling.cost_of_schedules)}
        seconds = {name: [] for name in tasks}
        for _ in range(arguments.repeats):
            for name, task in tasks.items():
                taken, loss = fit(task, training, validation, arguments.iterations)
                seconds[name].append(taken)
                print(f"{name:<6}  {taken:.3f} s, task loss {loss:.6f}")
    least = {name: np.min(values) for name, values in seconds.items()}
    print(f"Python / C: {least['Python'] / least['C']:.3f}")


if __name__ == "__main__":
    main()
