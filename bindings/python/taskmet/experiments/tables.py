"""Tables 2 and 3 from records: means over runs of each method on each problem, with the paper's numbers beside them.

The paper's numbers are not here. The command line has them, and hands them out in the columns ``paper_*`` of `taskmet
summarize results.jsonl --format csv`; `load_paper` reads that. So there is one place to correct them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from taskmet.experiments.records import Record, Records, read_csv

#: The command line's problems and methods, in the order of its tables; others come after them, by name.
PROBLEMS = ("cubic", "budget", "portfolio", "grid-scheduling")
METHODS = (
    *("mse", "dfl", "dfl-10", "lodl", "lodl-10", "spo-plus", "weighted-mse", "taskmet"),
    *("predict-zero", "hourly-shift"),
)


class Estimate(NamedTuple):
    """Mean, standard deviation and standard error of one quantity."""

    mean: float
    #: Over all runs (n - 1).
    deviation: float
    #: Of the mean. Runs on the same data set are not independent: it is made from the data sets' own means, and only
    #: where there is one data set from the runs.
    error: float


class SummaryRow(NamedTuple):
    """The runs of one method on one problem with the same settings."""

    problem: str
    method: str
    preset: str
    settings_hash: str
    #: The method, with the settings where it was run with several.
    label: str
    runs: int
    datasets: int
    decision_quality: Estimate
    test_mse: Estimate
    regret: Estimate
    #: Of the line, on the cubic problem.
    slope: Estimate | None


class PaperRow(NamedTuple):
    """What the paper reports of a method on a problem; mean and standard deviation over runs."""

    decision_quality: float
    decision_quality_deviation: float
    test_mse: float
    test_mse_deviation: float


def estimate(values: Sequence[float], datasets: Sequence[int]) -> Estimate:
    """The estimate from a value of each run, and the data set that each run belongs to.

    Examples
    --------
    >>> estimate([1.0, 3.0, 2.0, 6.0], datasets=[0, 0, 1, 1])
    Estimate(mean=3.0, deviation=2.160246899469287, error=1.0)
    """
    numbers, groups = np.asarray(values, dtype=np.float64), np.asarray(datasets)
    names = np.unique(groups)
    means = numbers if len(names) == 1 else np.array([numbers[groups == name].mean() for name in names])
    return Estimate(float(numbers.mean()), _deviation(numbers), _deviation(means) / math.sqrt(len(means)))


def _deviation(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def summarize(records: Records) -> list[SummaryRow]:
    """A row for each problem, method and settings. A run that is there twice counts once.

    Raises
    ------
    ValueError
        The records are agents' (see `summarize_agents`).
    """
    if records.kind == "agent":
        raise ValueError("these are records of agents: use summarize_agents")
    groups: dict[tuple[str, str, str], dict[tuple[int, int], Record]] = {}
    for record in records:
        key = record["problem"], record["method"], record["settings_hash"]
        groups.setdefault(key, {}).setdefault((record["dataset"], record["seed"]), record)
    rows = [_summary(list(runs.values())) for runs in groups.values()]
    rows.sort(key=lambda row: (*_place(row.problem, PROBLEMS), *_place(row.method, METHODS), row.settings_hash))
    return _labelled(rows)


def _summary(records: list[Record]) -> SummaryRow:
    first, datasets = records[0], [record["dataset"] for record in records]

    def of(name: str) -> Estimate:
        return estimate([record[name] for record in records], datasets)

    return SummaryRow(
        problem=first["problem"],
        method=first["method"],
        preset=first["preset"],
        settings_hash=first["settings_hash"],
        label=first["method"],
        runs=len(records),
        datasets=len(set(datasets)),
        decision_quality=of("decision_quality"),
        test_mse=of("test_mse"),
        regret=of("regret"),
        slope=of("slope") if all("slope" in record for record in records) else None,
    )


def _labelled(rows: list[SummaryRow]) -> list[SummaryRow]:
    names = [(row.problem, row.method) for row in rows]
    return [
        row._replace(label=f"{row.method} [{row.preset} {row.settings_hash[:4]}]") if names.count(name) > 1 else row
        for row, name in zip(rows, names, strict=True)
    ]


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(name), "") if name in order else (len(order), name)


def load_paper(path: str | os.PathLike[str]) -> dict[tuple[str, str], PaperRow]:
    """The paper's numbers by (problem, method); NaN for what it does not report.

    Parameters
    ----------
    path : path
        The output of `taskmet summarize results.jsonl --format csv`.
    """
    quantities = ("decision_quality", "test_mse")
    columns = [f"paper_{name}{suffix}" for name in quantities for suffix in ("", "_sd")]
    rows = read_csv(path)
    missing = [column for column in ("problem", "method", *columns) if rows and column not in rows[0]]
    if missing:
        raise ValueError(f"{os.fspath(path)} has no column {', '.join(missing)}: is it a summary as CSV?")
    return {
        (row["problem"], row["method"]): PaperRow(*(float(row[column] or "nan") for column in columns)) for row in rows
    }


def table(rows: Iterable[SummaryRow], paper: Mapping[tuple[str, str], PaperRow] | None = None) -> NDArray[np.void]:
    """The rows as a structured array, with the command line's names of columns; `pandas.DataFrame` takes it as it is.

    Parameters
    ----------
    rows : iterable of SummaryRow
    paper : mapping, optional
        From `load_paper`; adds the columns ``paper_*``.

    Returns
    -------
    array
        Of each quantity the mean (``_mean``), the standard deviation over runs (``_sd``) and the standard error of the
        mean (``_se``).
    """
    dictionaries = [
        _flat(row, None if paper is None else paper.get((row.problem, row.method), _ABSENT)) for row in rows
    ]
    return Records(dictionaries).array()


_ABSENT = PaperRow(*[math.nan] * 4)


def _flat(row: SummaryRow, paper: PaperRow | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in row._asdict().items():
        if isinstance(value, Estimate):
            out |= {f"{name}_mean": value.mean, f"{name}_sd": value.deviation, f"{name}_se": value.error}
        elif value is not None:
            out[name] = value
        if paper is not None and hasattr(paper, name):
            out[f"paper_{name}"] = getattr(paper, name)
            out[f"paper_{name}_sd"] = getattr(paper, f"{name}_deviation")
    return out
