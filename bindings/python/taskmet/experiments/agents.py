"""Figures 6 to 8 from records: means over seeds of the agents' runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from taskmet.experiments.records import Record, Records
from taskmet.experiments.tables import Estimate, estimate

#: Evaluations that make the end of a run, as in the command line's tables.
FINAL_EVALUATIONS = 5


class AgentRow(NamedTuple):
    """The runs of one agent with the same settings; the standard errors are over seeds."""

    agent: str
    #: The agent and the task, with the settings where there are several.
    label: str
    distractors: int
    settings_hash: str
    seeds: int
    #: Of the shortest run.
    steps: int
    #: Of the last `FINAL_EVALUATIONS` evaluations.
    final_return: Estimate
    #: Of all evaluations.
    mean_return: Estimate
    #: Mean squared, of cart and pole, at the end.
    state_model_error: Estimate


class Curve(NamedTuple):
    """One quantity over the steps in the environment."""

    agent: str
    label: str
    distractors: int
    settings_hash: str
    seeds: int
    #: The evaluations that all seeds have.
    steps: NDArray[np.int64]
    #: Over seeds, evaluations x (the quantity's own shape).
    mean: NDArray[np.float64]
    #: Standard error of the mean; NaN for one seed.
    error: NDArray[np.float64]


def summarize_agents(records: Records) -> list[AgentRow]:
    """A row for each agent, task and settings. Of runs with the same settings and seed the longest counts."""
    return [_row(label, runs) for label, runs in _groups(records)]


def _row(label: str, runs: list[Record]) -> AgentRow:
    def of(value: Callable[[Record], Any]) -> Estimate:
        return estimate([float(np.mean(value(run))) for run in runs], datasets=[0] * len(runs))

    first = runs[0]
    return AgentRow(
        agent=first["agent"],
        label=label,
        distractors=_distractors(first),
        settings_hash=first["settings_hash"],
        seeds=len(runs),
        steps=min(run["steps"] for run in runs),
        final_return=of(lambda run: run["return"][-FINAL_EVALUATIONS:]),
        mean_return=of(lambda run: run["return"]),
        state_model_error=of(lambda run: run["state_model_error"][-FINAL_EVALUATIONS:]),
    )


def learning_curves(records: Records, quantity: str = "return") -> list[Curve]:
    """Mean and standard error over seeds of a quantity, by agent, task and settings.

    Parameters
    ----------
    records : Records
        Of agents' runs.
    quantity : str
        A field with a value for each evaluation: "return", "model_error", "state_model_error", or "metric_diagonal",
        which has a value for each coordinate of the state. Agents without that quantity are left out.
    """
    curves = [_curve(label, runs, quantity) for label, runs in _groups(records)]
    return [curve for curve in curves if curve.mean.size]


def _curve(label: str, runs: list[Record], quantity: str) -> Curve:
    if not all(isinstance(run.get(quantity), list) for run in runs):
        raise ValueError(f"{quantity!r} is not a field with a value for each evaluation")
    count = min(len(run["step"]) for run in runs)
    values = np.array([run[quantity][:count] for run in runs], dtype=np.float64)
    error = values.std(axis=0, ddof=1) / math.sqrt(len(runs)) if len(runs) > 1 else np.full(values.shape[1:], math.nan)
    first = runs[0]
    steps = np.array(first["step"][:count], dtype=np.int64)
    sizes = (_distractors(first), first["settings_hash"], len(runs))
    return Curve(first["agent"], label, *sizes, steps, values.mean(axis=0), error)


def _groups(records: Records) -> list[tuple[str, list[Record]]]:
    """Label and runs, by seed, of each agent with the same settings; by number of distractors, then label."""
    if records.kind == "decision":
        raise ValueError("these are not records of agents: use summarize")
    groups: dict[str, dict[int, Record]] = {}
    for record in records:
        runs = groups.setdefault(record["settings_hash"], {})
        if record["seed"] not in runs or record["steps"] > runs[record["seed"]]["steps"]:
            runs[record["seed"]] = record
    sorted_runs = [[runs[seed] for seed in sorted(runs)] for runs in groups.values()]
    sorted_runs.sort(key=lambda runs: (_distractors(runs[0]), runs[0]["label"], runs[0]["settings_hash"]))
    labels = [runs[0]["label"] for runs in sorted_runs]
    return [
        (f"{label} [{runs[0]['settings_hash'][:4]}]" if labels.count(label) > 1 else label, runs)
        for label, runs in zip(labels, sorted_runs, strict=True)
    ]


def _distractors(record: Record) -> int:
    return int(record.get("settings", {}).get("distractors", 0))
