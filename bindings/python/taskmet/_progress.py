"""A fit's progress for people: a bar by tqdm, in notebooks too, or a line that rewrites itself."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from taskmet.reports import Record


class Progress:
    """Draws records as they come. `total` is the iteration at which the fit ends at the latest."""

    def __init__(self, total: int):
        self.total = total
        self._bar: Any = None
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self._line = _Line(total)
        else:
            self._bar = tqdm(total=total, unit="it")

    def __call__(self, record: Record) -> None:
        if self._bar is None:
            self._line.draw(record.iteration, describe(record))
        else:
            self._bar.n = record.iteration
            self._bar.set_postfix_str(describe(record))

    def close(self) -> None:
        """Ends the bar or the line."""
        (self._line if self._bar is None else self._bar).close()


def describe(record: Record) -> str:
    """What a bar says beside its length."""
    parts = [f"task loss {record.task_loss:.4g}"]
    if not math.isnan(record.validation_task_loss):
        parts.append(f"validation {record.validation_task_loss:.4g}")
    if not math.isnan(record.solver_residual):
        parts.append(f"residual {record.solver_residual:.1e}")
    return ", ".join(parts)


class _Line:
    """One line on standard error, drawn at most twice a second."""

    def __init__(self, total: int):
        self.total, self.start, self.drawn, self.width = total, time.monotonic(), -math.inf, 0

    def draw(self, iteration: int, text: str) -> None:
        now = time.monotonic()
        if now - self.drawn < 0.5 and iteration < self.total:
            return
        self.drawn = now
        left = (now - self.start) * (self.total - iteration) / iteration if iteration else math.nan
        time_left = "" if math.isnan(left) else f", {left:.0f} s left"
        line = f"{iteration}/{self.total}: {text}{time_left}"
        sys.stderr.write("\r" + line.ljust(self.width))
        sys.stderr.flush()
        self.width = len(line)

    def close(self) -> None:
        if self.width:
            sys.stderr.write("\n")
