"""Rows: whole runs. The cubic as programs, from start to result; grid scheduling and portfolio as fits in this process,
by the same recipe, for as many iterations or to the same task loss."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import taskmet

from sidebyside import probes, runs_torch
from sidebyside.registry import OURS, Case, Contestant, NotAvailableError, row
from sidebyside.rows_learning import rivals

PROGRAMS = pathlib.Path(__file__).resolve().parents[1] / "programs"
ROOT = PROGRAMS.parents[1]
MOST_ITERATIONS = 30


# ----------------------------------------------------------------------------------------------------------------------
# Cubic


class Program:
    """A program that prints its result as JSON; each run takes the next seed, in the same order for all programs.
    Keeps the directory that the program and its data are in."""

    def __init__(self, command: list[str], directory: tempfile.TemporaryDirectory):
        self._command, self._directory = command, directory
        self._seeds, self._results = itertools.count(1), []

    def costs(self) -> tuple[float, float]:
        """(wall seconds, processor seconds) from start to end."""
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [*self._command, str(next(self._seeds))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            raise ChildProcessError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
        result = json.loads(done.stdout)
        if not (result["slope"] > 0 and result["quality"] > 0.9):
            raise ArithmeticError(f"{command[0]} did not reach a line's ceiling: {result}")
        self._results.append(result)
        return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    def facts(self) -> dict[str, Any]:
        """Of the first seed's run."""
        return {key: self._results[0][key] for key in ("quality", "iterations")}


def compiled_cubic(directory: str) -> str:
    """programs/cubic.c against the library that is measured."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise NotAvailableError("no C compiler")
    library = pathlib.Path(probes.library_path())
    program = str(pathlib.Path(directory, "cubic"))
    options = ["-O2", "-std=c99", f"-I{ROOT / 'include'}", str(PROGRAMS / "cubic.c"), "-o", program]
    # By its path: the package carries the library under that name alone, without the link that -l looks for.
    shutil.copy(library, pathlib.Path(directory, soname(library)))
    options += [str(pathlib.Path(directory, soname(library))), f"-Wl,-rpath,{directory}"]
    subprocess.run([compiler, *options], check=True, capture_output=True)
    return program


def soname(library: pathlib.Path) -> str:
    """The name that programs look for."""
    return f"libtaskmet.so.{taskmet._native.ABI_VERSION}" if library.name == "libtaskmet.so" else library.name


@row("run/cubic", "200 instances of 50 items, until the line rises")
def _cubic() -> Case:
    directory = tempfile.TemporaryDirectory()
    generator, parts = np.random.default_rng(1), []
    for instances in (200, 400):
        x = generator.uniform(-1, 1, instances * 50)
        parts += [x, 10 * x**3 - 6.5 * x]
    data = pathlib.Path(directory.name, "cubic.bin")
    np.concatenate(parts).tofile(data)
    programs = {OURS: Program([compiled_cubic(directory.name), str(data)], directory)}
    note = "from start to result, Python's start and PyTorch's loading included; batches are random: seeds 1, 2, ..."
    if runs_torch.missing:
        note += f"; PyTorch not available ({runs_torch.missing})"
    else:
        programs["PyTorch"] = Program([sys.executable, str(PROGRAMS / "cubic.py"), str(data)], directory)

    contestants = {
        name: Contestant(lambda: None, facts=program.facts, costs=program.costs) for name, program in programs.items()
    }
    # 500 + 100 steps for each of about 20 iterations on 500 rows of one feature; the data are read once.
    return Case(contestants, 2500 * 500 * 6.0, 8.0 * 60_000, tolerance=None, note=note)


# ----------------------------------------------------------------------------------------------------------------------
# Fits in this process


class Fit:
    """A fit whose result is a model's predictions on held-out rows, judged by the task."""

    def __init__(self, fit: Any, task: taskmet.Task, held_out: taskmet.Dataset):
        self._fit, self._task, self._held_out, self._predictions = fit, task, held_out, None

    def run(self) -> None:
        """The fit."""
        self._predictions = self._fit()

    def loss(self) -> float:
        """Of the last fit."""
        return self._task.loss(self._held_out, self._predictions)

    def contestant(self) -> Contestant:
        """What is compared is the held-out task loss."""
        return Contestant(self.run, self.loss, lambda: {"loss": self.loss()})


def cost_of_schedules(batch: taskmet.TaskBatch) -> tuple[float, np.ndarray]:
    """A shortage costs a hundred times as much as a surplus (Donti, Amos and Kolter 2017)."""
    error = batch.predictions - batch.targets
    slope = np.where(error < 0, -50.0, 0.5)
    return float(np.mean(slope * error + 0.5 * error**2)), (slope + error) / error.size


def generated_days(generator: np.random.Generator, days: int) -> tuple[np.ndarray, np.ndarray]:
    """(features, loads) of the grid scheduling problem's shape: 24 loads and temperatures of the day before, 24 of the
    day and their squares, 3 numbers of the calendar; loads with a daily shape, heating and cooling, and noise that
    grows on hot days."""
    hours, day = np.arange(24), np.arange(days + 1)
    season = np.cos(2 * np.pi * day / 365)
    warmth = (
        -season[:, None]
        + 0.4 * np.sin(2 * np.pi * (hours - 9) / 24)
        + 0.3 * np.repeat(generator.standard_normal((days + 1, 1)), 24, 1)
    )
    weekend = (day % 7 >= 5)[:, None]
    shape = 1 + 0.2 * np.sin(2 * np.pi * (hours - 8) / 24) - 0.1 * weekend
    noise = 0.05 * generator.standard_normal((days + 1, 24)) * (1 + np.maximum(warmth, 0))
    loads = shape + 0.25 * np.abs(warmth) ** 1.5 + noise
    calendar = np.column_stack([weekend[1:, 0], season[1:], np.sin(2 * np.pi * day[1:] / 365)])
    x = np.column_stack([loads[:-1], warmth[:-1], warmth[1:], warmth[1:] ** 2, calendar])
    return (x - x.mean(0)) / x.std(0), loads[1:]


@row("run/grid", "875 days, 99 features, 24 hours; linear, diagonal by 99-64-24, 30 iterations")
def _grid() -> Case:
    iterations, rate, rho, floor = 30, 3e-3, 2e-2, 0.01
    x, y = generated_days(np.random.default_rng(12), 1167)
    training, held_out = (x[:875], y[:875]), (x[875:], y[875:])
    metric = taskmet.Metric.conditional(99, 24, "diagonal", hidden=[64], activation="relu", seed=1)
    start = np.array(metric.parameters)
    task, judged = taskmet.CallbackTask(cost_of_schedules), taskmet.Dataset(*held_out)
    data = taskmet.Dataset(*training)

    def fit() -> np.ndarray:
        predictor = taskmet.Linear(99, 24)
        predictor.set_penalize_bias(False)
        options = {"rho": rho, "metric_rate": rate, "metric_floor": floor, "outer_iterations": iterations}
        with taskmet.Trainer(predictor, metric.copy(), data, task, patience=0, **options) as trainer:
            trainer.fit()
            return trainer.predictor("last").predict(held_out[0])

    made, note = rivals(
        {"PyTorch": lambda: runs_torch.GridFit(training, held_out[0], start, rho, rate, floor, iterations)}
    )
    contestants = {OURS: Fit(fit, task, judged).contestant()}
    contestants |= {name: Fit(rival.run, task, judged).contestant() for name, rival in made.items()}
    # An iteration: 24 normal matrices of order 100 and their factorisation, and the metric's network.
    rows, d = 875, 100
    flops = iterations * 24 * (rows * d * d + d**3 / 3.0) + iterations * 6.0 * rows * (99 * 64 + 64 * 24)
    note = "; ".join(filter(None, ["generated data; no random batches: the task loss must agree", note]))
    return Case(contestants, flops, 8.0 * iterations * rows * (99 + 24), tolerance=1e-4, note=note)


@row("run/portfolio", "200 days of 50 stocks; MLP 28-500-1, scalar by 28-200-1, paper's recipe to a task loss")
def _portfolio() -> Case:
    stocks, days, target = 50, 200, -0.075
    generator = np.random.default_rng(13)
    x = generator.standard_normal((2 * days * stocks, 28))
    mix = generator.standard_normal((28, 3)) / np.sqrt(28)
    y = 0.1 * np.tanh(np.sin(2 * x @ mix).sum(1)) + 0.05 * generator.standard_normal(len(x))
    returns = generator.standard_normal((2 * days, stocks, 9)) + generator.standard_normal((2 * days, 1, 9))
    q = np.array([np.corrcoef(r) + 0.1 * np.eye(stocks) for r in returns])
    half, offsets = days * stocks, range(0, days * stocks + 1, stocks)
    data = taskmet.Dataset(x[:half], y[:half], instances=offsets, context=list(q[:days]))
    judged = taskmet.Dataset(x[half:], y[half:], instances=offsets, context=list(q[days:]))
    task = taskmet.Portfolio(0.1)
    predictor = taskmet.MLP(28, 1, hidden=[500], output_activation="tanh", seed=1)
    metric = taskmet.Metric.conditional(28, 1, "scalar", hidden=[200], activation="relu", seed=1)
    options = {"preset": "paper", "inner_rate": 1e-3, "outer_batch": 100, "outer_iterations": MOST_ITERATIONS}

    def fit() -> np.ndarray:
        with taskmet.Trainer(predictor, metric, data, task, seed=1, **options) as trainer:
            while trainer.step().task_loss > target:
                if len(trainer.records) > MOST_ITERATIONS:
                    raise ArithmeticError(f"the task loss is above {target} after {MOST_ITERATIONS} iterations")
            return trainer.predictor("last").predict(x[half:])

    starts = (np.array(predictor.parameters), np.array(metric.parameters))
    problem = (x[:half], y[:half], q[:days], x[half:])
    made, note = rivals(
        {"PyTorch, cvxpylayers": lambda: runs_torch.PortfolioFit(*problem, *starts, target, MOST_ITERATIONS)}
    )
    contestants = {OURS: Fit(fit, task, judged).contestant()}
    contestants |= {name: Fit(rival.run, task, judged).contestant() for name, rival in made.items()}
    rows, iterations = 500, 7  # about as many as it takes
    steps = 500 + 100 * iterations
    flops = steps * 2.0 * rows * (2 * 28 * 500 + 3 * 500) + iterations * 12 * 2.0 * rows * (2 * 28 * 500 + 6 * 500)
    note = "; ".join(
        filter(
            None,
            [
                "generated data; until a random batch's task loss is below a target; shown is the held-out loss",
                note,
            ],
        )
    )
    return Case(contestants, flops, 8.0 * steps * rows * 30, tolerance=None, note=note)
