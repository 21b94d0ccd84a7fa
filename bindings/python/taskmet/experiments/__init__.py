"""The results of `taskmet reproduce`, the command line over the paper's experiments: read, summarised, drawn.

`load` reads a results file, `summarize` and `summarize_agents` make tables of it, and `taskmet.experiments.figures`
(which needs matplotlib) draws the paper's figures.

Examples
--------
>>> from taskmet import experiments
>>> records = experiments.load("results.jsonl")  # doctest: +SKIP
>>> experiments.summarize(records)[0].decision_quality  # doctest: +SKIP
Estimate(mean=-0.966, deviation=0.019, error=0.006)
"""

from __future__ import annotations

import importlib
from typing import Any

from taskmet.experiments.agents import AgentRow, Curve, learning_curves, summarize_agents
from taskmet.experiments.records import Records, load, load_figure4
from taskmet.experiments.tables import Estimate, PaperRow, SummaryRow, load_paper, summarize, table

__all__ = [
    "AgentRow",
    "Curve",
    "Estimate",
    "PaperRow",
    "Records",
    "SummaryRow",
    "learning_curves",
    "load",
    "load_figure4",
    "load_paper",
    "summarize",
    "summarize_agents",
    "table",
]


def __getattr__(name: str) -> Any:
    if name == "figures":
        return importlib.import_module("taskmet.experiments.figures")
    raise AttributeError(f"module 'taskmet.experiments' has no attribute {name!r}")
