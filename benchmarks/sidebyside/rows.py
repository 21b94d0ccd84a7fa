"""All rows: importing this declares them."""

from sidebyside import rows_learning, rows_metric, rows_runs, rows_scaling, rows_tasks  # noqa: F401
from sidebyside.registry import ROWS

__all__ = ["ROWS"]
