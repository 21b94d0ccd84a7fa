"""Times the contestants of one row: interleaved, with first calls apart, results compared before anything counts."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sidebyside import probes
from sidebyside.registry import OURS, Case, Contestant, NotAvailableError, Row

CLOCKS = ("wall", "processor")
# A sample lasts at least this long, so that the clock's resolution and one call's overhead do not count.
LEAST_SECONDS = 0.004
MOST_CALLS = 1_000_000


def spent(function: Callable[[], Any], calls: int = 1) -> tuple[float, float]:
    """(wall seconds, processor seconds of this process) of that many calls, divided by them."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(calls):
        function()
    return (time.perf_counter() - wall) / calls, (time.process_time() - processor) / calls


def calls_per_sample(function: Callable[[], Any]) -> int:
    """How many calls last LEAST_SECONDS."""
    calls = 1
    while calls < MOST_CALLS:
        seconds = spent(function, calls)[0] * calls
        if seconds >= LEAST_SECONDS:
            break
        calls = min(MOST_CALLS, max(2 * calls, int(1.2 * calls * LEAST_SECONDS / max(seconds, 1e-9))))
    return calls


def interleave(samplers: dict[str, Callable[[], tuple[float, float]]], repeats: int) -> dict[str, list[tuple]]:
    """Samples of each, taken in turn; the turn begins with another one each time."""
    names, samples = list(samplers), {name: [] for name in samplers}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for repeat in range(repeats):
            shift = repeat % len(names)
            for name in names[shift:] + names[:shift]:
                samples[name].append(samplers[name]())
    finally:
        if collecting:
            gc.enable()
    return samples


def difference(value: Any, truth: Any) -> float:
    """|value - truth| / |truth| by Euclidean norm, over all arrays of a value together; infinite for other shapes."""
    a, b = flat(value), flat(truth)
    if a.shape != b.shape:
        return float("inf")
    scale = float(np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / (scale if scale > 0 else 1.0)


def flat(value: Any) -> np.ndarray:
    """All numbers of arrays, of any library, in nested lists and tuples, in order."""
    if isinstance(value, (tuple, list)):
        return np.concatenate([flat(part) for part in value]) if value else np.zeros(0)
    return np.ravel(np.asarray(value, dtype=np.float64))


def summary(samples: list[float]) -> dict[str, float]:
    """Median, least, largest."""
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples)}


def _agree(case: Case, results: dict[str, dict[str, Any]], outcomes: dict[str, Any]) -> list[str]:
    """Notes each contestant's difference from the truth; the names of those that are too far from it."""
    if case.tolerance is None:
        return []
    values = {}
    for name, contestant in case.contestants.items():
        values[name] = contestant.value() if contestant.value else outcomes[name]
    truth = values[OURS] if case.truth is None else case.truth
    wrong = []
    for name, value in values.items():
        results[name]["difference"] = difference(value, truth)
        if case.contestants[name].value is not None and outcomes[name] is not None:
            results[name]["difference_as_timed"] = difference(outcomes[name], truth)
        if not results[name]["difference"] <= case.tolerance:
            wrong.append(f"{name} differs by {results[name]['difference']:.1e}, more than {case.tolerance:g}")
    return wrong


def _sampler(contestant: Contestant, calls: int) -> Callable[[], tuple[float, float]]:
    return contestant.costs if contestant.costs else lambda: spent(contestant.run, calls)


def measure(row: Row, repeats: int, clock: str) -> dict[str, Any]:
    """The row's result as plain data. Seconds are those of one unit of the row (a step, an instance)."""
    case = row.make()
    index = CLOCKS.index(clock)
    results: dict[str, dict[str, Any]] = {name: {} for name in case.contestants}
    outcomes, calls = {}, {}
    for name, contestant in case.contestants.items():
        box: list[Any] = []
        first = contestant.costs() if contestant.costs else spent(lambda c=contestant, b=box: b.append(c.run()))
        results[name]["first"] = first[index] / case.divisor
        outcomes[name] = box[0] if box else None
    wrong = _agree(case, results, outcomes)
    for name, contestant in case.contestants.items():
        calls[name] = 1 if contestant.costs else calls_per_sample(contestant.run)
        if contestant.facts:
            results[name].update(contestant.facts())

    samplers = {name: _sampler(contestant, calls[name]) for name, contestant in case.contestants.items()}
    machine = probes.Probes(row.precision, row.threads, case.bytes)
    samples = interleave(samplers | machine.samplers, repeats)
    for name in case.contestants:
        for position, kind in enumerate(CLOCKS):
            results[name][kind] = summary([sample[position] / case.divisor for sample in samples[name]])
        results[name]["calls"] = calls[name]
        if name != OURS:
            ratios = [theirs[index] / ours[index] for theirs, ours in zip(samples[name], samples[OURS], strict=True)]
            results[name]["ratio"] = summary(ratios)
            results[name]["first_ratio"] = results[name]["first"] / results[OURS]["first"]

    seconds = {name: statistics.median(sample[index] for sample in samples[name]) for name in machine.samplers}
    rates = machine.rates(seconds, clock)
    floor = max(case.flops / rates["flops_per_second"], case.bytes / rates["bytes_per_second"]) / case.divisor
    return {
        "status": "error" if wrong else "measured",
        "note": "; ".join([*wrong, case.note] if case.note else wrong),
        "flops": case.flops / case.divisor,
        "bytes": case.bytes / case.divisor,
        **rates,
        "floor_seconds": floor,
        "times_floor": results[OURS][clock]["median"] / floor if floor > 0 else None,
        "contestants": results,
        **(case.extra() if case.extra else {}),
    }


def result_of(row: Row, repeats: int, clock: str) -> dict[str, Any]:
    """``measure``, with what went wrong as a result too. Processor time says nothing about what threads gain: rows with
    several are measured by the wall."""
    clock = clock if row.threads == 1 else "wall"
    header = {"name": row.name, "size": row.size, "group": row.group, "threads": row.threads}
    header |= {"precision": row.precision, "variable": row.variable, "repeats": repeats, "clock": clock}
    try:
        return header | measure(row, repeats, clock)
    except NotAvailableError as reason:
        return header | {"status": "not available", "note": str(reason)}
    except Exception as error:
        return header | {"status": "error", "note": f"{type(error).__name__}: {error}"}
