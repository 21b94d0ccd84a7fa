"""Tables of results, the exponents of scaling, and what the project promises beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from sidebyside.registry import OURS

BEGIN, END = "<!-- benchmark results: begin -->", "<!-- benchmark results: end -->"
# Above these values a time is fitted: below, what every call costs hides what a row costs.
FIT_ABOVE = {"rows": 1e4, "outputs": 16, "parameters": 1e4}

Result = dict[str, Any]


def seconds(value: float | None) -> str:
    """Three digits with a unit."""
    if value is None:
        return "-"
    for limit, factor, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (math.inf, 1.0, "s")):
        if value < limit:
            return f"{number(value * factor)} {unit}"
    raise AssertionError("infinity is more than any value")


def number(value: float | None) -> str:
    """Three significant digits, without an exponent where it can be."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if value >= 1e-3 else f"{value:.1e}"


def exponent(points: Iterable[tuple[float, float]]) -> float | None:
    """p of y = a x^p by least squares of the logarithms; None for fewer than three points."""
    logarithms = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len(logarithms) < 3:
        return None
    mean_x = sum(x for x, _ in logarithms) / len(logarithms)
    mean_y = sum(y for _, y in logarithms) / len(logarithms)
    spread = sum((x - mean_x) ** 2 for x, _ in logarithms)
    return sum((x - mean_x) * (y - mean_y) for x, y in logarithms) / spread


def line(result: Result) -> str:
    """One row while it is measured."""
    if result["status"] == "not available":
        return f"{result['name']:<42} not available: {result['note']}"
    if "contestants" not in result:
        return f"{result['name']:<42} ERROR: {result['note']}"
    ours = result["contestants"][OURS][result["clock"]]["median"]
    parts = [f"{result['name']:<42} {seconds(ours):>9}", f"{number(result['times_floor'])} x floor"]
    parts += [f"{name} {number(entry['ratio']['median'])}" for name, entry in rivals(result)]
    if result["status"] == "error":
        parts.append(f"ERROR: {result['note']}")
    return "  ".join(parts)


def rivals(result: Result) -> list[tuple[str, dict[str, Any]]]:
    """Contestants that are not ours."""
    return [(name, entry) for name, entry in result.get("contestants", {}).items() if name != OURS]


# ----------------------------------------------------------------------------------------------------------------------
# Markdown


def table(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _spread(entry: dict[str, float]) -> str:
    return f"{number(entry['median'])} ({number(entry['min'])} to {number(entry['max'])})"


def _comparison(results: list[Result]) -> str:
    header = ["row", "TaskMet", "floor x", "against", "theirs / ours", "with first call", "difference", "remarks"]
    lines = []
    for result in results:
        name = f"`{result['name']}`<br>{result['size']}"
        if "contestants" not in result:
            lines.append([name, "-", "-", "-", "-", "-", "-", f"{result['status']}: {result['note']}"])
            continue
        own = result["contestants"][OURS]
        first = [name, seconds(own[result["clock"]]["median"]), number(result["times_floor"])]
        others = rivals(result) or [("-", {})]
        for position, (rival, entry) in enumerate(others):
            cells = [rival, _spread(entry["ratio"]), number(entry["first_ratio"])] if entry else ["-", "-", "-"]
            cells += [_difference(entry), "; ".join(_remarks(result, own, entry, position == 0))]
            lines.append((first if position == 0 else ["", "", ""]) + cells)
    return table(header, lines)


def _difference(entry: dict[str, Any]) -> str:
    if entry.get("difference") is None:
        return "-"
    text = f"{entry['difference']:.0e}"
    if entry.get("difference_as_timed") is not None:
        text += f" (as timed {entry['difference_as_timed']:.0e})"
    return text


# Facts of contestants that tables show, with their words.
FACTS = {"residual": "residual", "iterations": "iterations", "loss": "task loss", "quality": "decision quality"}


def _remarks(result: Result, own: dict[str, Any], entry: dict[str, Any], is_first: bool) -> list[str]:
    remarks = []
    if is_first:
        if result["status"] == "error":
            remarks.append("**error**")
        if result["note"]:
            remarks.append(result["note"])
        if own.get("difference_as_timed") is not None:
            remarks.append(f"ours as timed {own['difference_as_timed']:.0e}")
    for fact, words in FACTS.items():
        if entry.get(fact) is not None:
            ours = f", ours {entry_text(own[fact])}" if own.get(fact) is not None else ""
            remarks.append(f"{words} {entry_text(entry[fact])}{ours}")
    if entry.get("converged") is False:
        remarks.append("did not reach the tolerance")
    return remarks


def entry_text(value: Any) -> str:
    """A fact."""
    return number(value) if isinstance(value, float) else str(value)


def _scaling(results: list[Result]) -> str:
    header = ["row", "time", "per unit", "floor x", "memory beyond the data", "data"]
    lines, fits = [], []
    for kind in FIT_ABOVE:
        chosen = [r for r in results if r["name"].startswith(f"scaling/{kind}/") and "contestants" in r]
        for result in chosen:
            time, value = result["contestants"][OURS][result["clock"]]["median"], result["variable"]
            cells = [f"`{result['name']}`", seconds(time), seconds(time / value), number(result["times_floor"])]
            lines.append([*cells, _megabytes(result["memory"]), _megabytes(result["data_bytes"])])
        for what, of in _fitted().items():
            fitted = exponent((r["variable"], of(r)) for r in chosen if r["variable"] >= FIT_ABOVE[kind])
            if fitted is not None:
                fits.append(f"- {what} ~ {kind}^{fitted:.3f} from {FIT_ABOVE[kind]:g} on")
    return table(header, lines) + "\nFitted exponents:\n\n" + "\n".join(fits) + "\n" if lines else ""


def _fitted() -> dict[str, Callable[[Result], float]]:
    return {
        "time": lambda r: r["contestants"][OURS][r["clock"]]["median"],
        "memory": lambda r: float(r["memory"]),
    }


def _megabytes(value: float) -> str:
    return f"{value / 2**20:.1f} MiB"


TITLES = {
    "step": "Inner training step (Adam, metric fixed; one step)",
    "hessian": "Hessian-vector product (metric evaluated in it)",
    "hypergradient": "Hypergradient (conjugate gradients, ridge 0.1; large: 10)",
    "metric": "The metric",
    "task": "Tasks: loss and gradient, an instance",
    "run": "Whole runs",
    "threads": "Two threads against one",
}


def markdown(results: list[Result], about: dict[str, Any]) -> str:
    """The whole report."""
    machine = about["machine"] or {}
    installed = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    parts = [
        f"Measured on {machine.get('date')}: {machine.get('processor')}, {machine.get('cores')} cores, OpenBLAS core "
        f"{machine.get('openblas_core')}, {machine.get('system')}, Python {machine.get('python')}; load at the start "
        f"{machine.get('load', math.nan):.1f}; medians of {about['repeats']}, {about['clock']} time. TaskMet "
        f"{about['library']} ({about['library_digest']}), {installed}.\n",
        "### Promised and measured\n\n" + goals(results),
    ]
    for group, title in TITLES.items():
        chosen = [result for result in results if result["group"] == group]
        if chosen:
            parts.append(f"### {title}\n\n" + _comparison(chosen))
    scaling = _scaling(results)
    if scaling:
        parts.append("### Scaling: loss with gradient\n\n" + scaling)
    return "\n".join(parts)


def fill(document: str, text: str) -> str:
    """The document with the text between its two marks."""
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"the document must have {BEGIN!r} and {END!r} once each")
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}"


# ----------------------------------------------------------------------------------------------------------------------
# Goals


def _least(results: list[Result], pattern: Callable[[Result], bool], rival: str, key: str = "ratio") -> float | None:
    """The smallest median ratio of the rows that fit; None where none was measured."""
    found = []
    for result in results:
        entry = result.get("contestants", {}).get(rival)
        if entry and pattern(result):
            found.append(entry[key]["median"] if key == "ratio" else entry[key])
    return min(found, default=None)


def _named(*names: str) -> Callable[[Result], bool]:
    return lambda result: result["name"] in names


def _starts(text: str, threads: int = 1) -> Callable[[Result], bool]:
    return lambda result: result["name"].startswith(text) and result["threads"] == threads


def goals(results: list[Result]) -> str:
    """Each goal, the figure that belongs to it, and whether it is met; a goal without a measured row says so."""
    lines = []

    def goal(text: str, wanted: float, value: float | None, at_most: bool = False) -> None:
        met = None if value is None else (value <= wanted if at_most else value >= wanted)
        verdict = {None: "not measured", True: "yes", False: "**no**"}[met]
        lines.append([text, f"{'<=' if at_most else '>='} {wanted:g}", number(value), verdict])

    goal("cubic, whole program, over PyTorch", 100, _least(results, _starts("run/cubic"), "PyTorch"))
    for size in ("portfolio", "portfolio10000"):
        for precision in ("float64", "float32"):
            row, name = _named(f"hypergradient/{size}/{precision}"), f"hypergradient, {size}, {precision}"
            goal(f"{name}, over jaxopt", 1.5, _least(results, row, "jaxopt"))
            goal(f"{name}, over torchopt", 5, _least(results, row, "torchopt"))
            goal(f"{name}, over jaxopt with compilation", 50, _least(results, row, "jaxopt", "first_ratio"))
    for rival in ("JAX jit", "JAX loop", "PyTorch", "torch.compile"):
        goal(f"step, slowest of all sizes, over {rival}", 1, _least(results, _starts("step/"), rival))
    large = [r["times_floor"] for r in results if r["name"] == "step/large/float64" and "contestants" in r]
    goal("step, large, over the floor", 1.3, large[0] if large else None, at_most=True)
    for rival in ("cvxpylayers", "cvxpylayers Clarabel"):
        goal(f"portfolio, n = 50, over {rival}", 50, _least(results, _named("task/portfolio"), rival))
    for task in ("budget", "topk"):
        goal(f"{task}, over PyTorch in a loop", 50, _least(results, _named(f"task/{task}"), "PyTorch loop"))
    points = [r for r in results if r["name"].startswith("scaling/rows/") and "contestants" in r]
    points = [r for r in points if r["variable"] >= FIT_ABOVE["rows"]]
    fitted = exponent((r["variable"], _fitted()["time"](r)) for r in points)
    goal("exponent of time in N: from below", 0.95, fitted)
    goal("exponent of time in N: from above", 1.05, fitted, at_most=True)
    largest = max(points, key=lambda r: r["variable"], default=None)
    share = largest["memory"] / largest["data_bytes"] if largest else None
    goal("memory beyond the data, over the data, largest N", 0.25, share, at_most=True)
    for kind in ("step", "hypergradient"):
        two = _least(results, _starts(f"threads/{kind}/", 2), "TaskMet, 1 thread")
        goal(f"two threads, {kind}, slowest of the large sizes", 1.7, two)
    return table(["goal", "wanted", "measured", "met"], lines)
