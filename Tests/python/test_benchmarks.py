"""The benchmarks' harness: it reports what it measured, results that differ are errors, counts that rise are seen.

No test here depends on how long something takes."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="the benchmarks are not here")
sys.path.insert(0, str(BENCHMARKS))

import operation_counts  # noqa: E402
from sidebyside import measure, problems, report, rows, rows_tasks  # noqa: E402
from sidebyside.registry import OURS, Case, Contestant, NotAvailableError, Row  # noqa: E402


def measured(case, **fields):
    def make():
        if isinstance(case, Exception):
            raise case
        return case

    return measure.result_of(Row("group/name", "a size", make, **fields), 2, "processor")


def contestants(**values):
    return {name: Contestant(lambda value=value: np.asarray(value)) for name, value in values.items()}


def test_row_has_ratios_and_the_distance_from_the_floor():
    case = Case(contestants(**{OURS: [1.0, 2.0], "rival": [1.0, 2.0 + 1e-9]}), flops=1e6, bytes=1e5, divisor=4)
    result = measured(case)
    assert result["status"] == "measured"
    ours, rival = result["contestants"][OURS], result["contestants"]["rival"]
    assert 0 < rival["difference"] < 1e-9 and ours["difference"] == 0
    assert rival["ratio"]["min"] <= rival["ratio"]["median"] <= rival["ratio"]["max"]
    floor = max(1e6 / result["flops_per_second"], 1e5 / result["bytes_per_second"]) / 4
    assert result["floor_seconds"] == pytest.approx(floor)
    assert result["times_floor"] == pytest.approx(ours["processor"]["median"] / floor)


def test_results_that_differ_are_an_error():
    result = measured(Case(contestants(**{OURS: [1.0], "rival": [1.0 + 1e-5]}), 1.0, 1.0))
    assert result["status"] == "error"
    assert "rival differs by 1.0e-05" in result["note"]


def test_all_are_compared_with_the_truth_where_there_is_one():
    case = Case(contestants(**{OURS: [1.1], "rival": [1.0]}), 1.0, 1.0, truth=np.ones(1))
    result = measured(case)
    assert result["status"] == "error"
    assert f"{OURS} differs" in result["note"] and "rival differs" not in result["note"]


def test_other_shapes_and_nan_differ():
    assert measure.difference([1.0, 2.0], [1.0]) == np.inf
    assert measured(Case(contestants(**{OURS: [1.0], "rival": [np.nan]}), 1.0, 1.0))["status"] == "error"


def test_nested_values_are_compared_in_order():
    assert measure.flat([(np.ones((2, 1)), 2.0), [3.0]]).tolist() == [1.0, 1.0, 2.0, 3.0]


def test_what_cannot_be_measured_says_why():
    assert measured(NotAvailableError("no such library")) | {"note": ""} == measured(NotAvailableError("x")) | {
        "note": ""
    }
    assert measured(NotAvailableError("no such library"))["status"] == "not available"
    assert measured(ZeroDivisionError("boom"))["note"] == "ZeroDivisionError: boom"


def test_interleaving_takes_turns():
    order = []
    samplers = {name: lambda name=name: order.append(name) or (0.0, 0.0) for name in "abc"}
    samples = measure.interleave(samplers, 3)
    assert "".join(order) == "abcbcacab"
    assert {len(values) for values in samples.values()} == {3}


# ----------------------------------------------------------------------------------------------------------------------


def test_exponent():
    points = [(x, 3.0 * x**1.5) for x in (1e3, 1e4, 1e6)]
    assert report.exponent(points) == pytest.approx(1.5, abs=1e-12)
    assert report.exponent(points[:2]) is None


def test_goals_are_met_or_not_by_the_slowest_row():
    def step(name, ratio):
        entry = {"ratio": {"median": ratio}, "first_ratio": 1.0}
        return {"name": f"step/{name}", "threads": 1, "contestants": {"JAX jit": entry}}

    def verdict(*ratios):
        text = report.goals([step(k, ratio) for k, ratio in enumerate(ratios)])
        return next(line for line in text.splitlines() if "over JAX jit" in line)

    assert verdict(2.0, 1.5).endswith("| 1.50 | yes |")
    assert verdict(2.0, 0.9).endswith("| 0.900 | **no** |")
    assert verdict().endswith("| - | not measured |")


def test_document_is_filled_between_its_marks():
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    filled = report.fill(document, "new")
    assert "old" not in filled and "new" in filled
    assert filled.startswith("before") and filled.endswith("after\n")
    assert report.fill(filled, "new") == filled
    with pytest.raises(ValueError, match="once each"):
        report.fill("nothing", "new")


def test_the_document_has_its_marks():
    document = (ROOT / "docs" / "performance.md").read_text()
    assert document.count(report.BEGIN) == document.count(report.END) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(2.5e-7, "250 ns"), (1.5e-5, "15.0 us"), (0.0123, "12.3 ms"), (3.0, "3.00 s")]
)
def test_seconds(value, text):
    assert report.seconds(value) == text


# ----------------------------------------------------------------------------------------------------------------------


def test_work_of_a_network():
    widths = (28, 500, 1)
    assert problems.products(widths) == 28 * 500 + 500
    assert problems.later_products(widths) == 500
    assert problems.parameter_count(widths) == 28 * 500 + 500 + 500 + 1


def test_every_row_of_the_promises_is_declared():
    names = set(rows.ROWS)
    for size in problems.SIZES:
        for group in ("step", "hessian", "hypergradient"):
            assert {f"{group}/{size}/{precision}" for precision in problems.PRECISIONS} <= names
    assert {"run/cubic", "run/grid", "run/portfolio", "task/topk", "task/budget", "task/portfolio"} <= names
    for work in ("evaluation", "pull-back"):
        for kind in ("constant", "conditional"):
            assert {f"metric/{work}/{kind}/{n}" for n in (1, 4, 24, 100)} <= names


def test_portfolio_truth_is_the_gradient():
    generator = np.random.default_rng(1)
    y, predictions = 0.3 * generator.standard_normal((2, 1, 6))
    half = generator.standard_normal((6, 6))
    q = (half @ half.T / 6 + 0.1 * np.eye(6))[np.newaxis]
    gradient = rows_tasks.portfolio_truth(y, predictions, q)

    import taskmet

    task = taskmet.Portfolio(rows_tasks.RISK_AVERSION)
    dataset = taskmet.Dataset(np.zeros((6, 1)), y.ravel(), instances=[0, 6], context=list(q))
    assert measure.difference(task.gradient(dataset, predictions.reshape(6, 1))[1], gradient) < 1e-10


def run(out, *options):
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--out", str(out), "--clock", "processor", *options]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""}, check=False)


def test_a_run_writes_its_results_and_goes_on_from_them(tmp_path):
    options = ("--only", "metric/evaluation/conditional/1,task/budget exact", "--repeats", "1")
    done = run(tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "results.json").read_text())
    names = [result["name"] for result in written["rows"]]
    assert sorted(names) == ["metric/evaluation/conditional/1", "task/budget exact"]
    assert all(result["status"] == "measured" for result in written["rows"])
    assert written["about"]["machine"]["openblas_core"]
    assert "`task/budget exact`" in (tmp_path / "results.md").read_text()

    # One row's line is gone, the other's is torn: as after an interruption. What is there is not measured again.
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    kept = [line for line in lines if "task/budget exact" not in line]
    (tmp_path / "results.jsonl").write_text("\n".join([*kept, '{"name": "task/bud']))
    again = run(tmp_path, *options)
    assert again.returncode == 0, again.stdout + again.stderr
    lines = (tmp_path / "results.jsonl").read_text()
    assert lines.count('"metric/evaluation/conditional/1"') == 1
    assert "task/budget exact" in lines
    torn = [line for line in lines.splitlines() if not line.endswith("}")]
    assert torn == ['{"name": "task/bud']  # nothing was written onto it


def test_a_pattern_without_rows_is_refused(tmp_path):
    done = run(tmp_path, "--only", "nothing/*")
    assert done.returncode == 2 and "matches no row" in done.stderr


# ----------------------------------------------------------------------------------------------------------------------


def test_counts_beyond_the_tolerance_are_told():
    before = {"instructions": 1000, "gemm_calls": 10, "iterations": 3}
    now = {"instructions": 1015, "gemm_calls": 11, "evaluations": 2}
    verdicts = {what: verdict for what, *_, verdict in operation_counts.compare(before, now)}
    assert verdicts == {"instructions": "", "gemm_calls": "more", "iterations": "gone", "evaluations": "new"}
    lines = operation_counts.compare({"instructions": 1000}, {"instructions": 970})
    assert lines[0][-1] == "less" and lines[0][3] == pytest.approx(-0.03)


def test_committed_counts_are_of_the_present_cases():
    source = (BENCHMARKS / "operation_counts.c").read_text()
    committed = json.loads(operation_counts.BASELINE.read_text())
    assert committed
    for name, counts in committed.items():
        assert f'{{"{name}", ' in source
        assert counts["instructions"] > 0
