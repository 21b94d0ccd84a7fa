"""Results of the command line are read as they are written, and summarised as it summarises them."""

import csv
import json
import math
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from taskmet import experiments

HERE = pathlib.Path(__file__).resolve().parent
TABLES, SUMMARY, AGENTS = (HERE / "results" / name for name in ("tables.jsonl", "tables.csv", "cartpole.jsonl"))
COMMAND_LINE = HERE.parents[1] / ".build" / "release" / "taskmet-cli"


def tables():
    return experiments.load(TABLES)


def agents():
    return experiments.load(AGENTS)


def changed(tmp_path, change, source=TABLES):
    """A results file whose first record was changed."""
    first, *others = source.read_text().splitlines(keepends=True)
    record = json.loads(first)
    change(record)
    path = tmp_path / "changed.jsonl"
    path.write_text(json.dumps(record) + "\n" + "".join(others))
    return path


# ----------------------------------------------------------------------------------------------------------------------
# Records


def test_records_are_as_written():
    records = tables()
    assert records.kind == "decision"
    assert list(records) == [json.loads(line) for line in TABLES.read_text().splitlines()]
    assert len(records[2:5]) == 3 and records[2:5][0] == records[2]
    some = records.select(problem="cubic", method="dfl", seed=1)
    assert [record["dataset"] for record in some] == [0, 1]
    assert len(records.select(nothing=1)) == 0
    assert repr(some) == "<Records kind='decision' count=2>"


def test_array_has_numbers_and_text():
    records = tables()
    array = records.array()
    assert array.shape == (24,)
    assert "settings" not in array.dtype.names
    assert array["method"].tolist() == [record["method"] for record in records]
    assert array["dataset"].dtype.kind == "i"
    assert np.array_equal(array["test_mse"], [record["test_mse"] for record in records])
    budget = array["problem"] == "budget"
    assert budget.sum() == 4 and np.array_equal(np.isnan(array["slope"]), budget)
    assert "return" not in agents().array().dtype.names


def test_a_last_line_without_its_end_is_not_read(tmp_path):
    text = TABLES.read_text()
    for cut in (1, 30, 1000):
        (tmp_path / "cut.jsonl").write_text(text[:-cut])
        assert list(experiments.load(tmp_path / "cut.jsonl")) == list(tables())[:-1]
    (tmp_path / "empty.jsonl").write_text("")
    empty = experiments.load(tmp_path / "empty.jsonl")
    assert len(empty) == 0 and empty.array().shape == (0,) and experiments.summarize(empty) == []


def test_unknown_fields_are_kept(tmp_path):
    records = experiments.load(changed(tmp_path, lambda record: record.update(novelty=1.5, list=[1], note="x")))
    assert records[0]["novelty"] == 1.5
    array = records.array()
    assert array["novelty"][0] == 1.5 and np.isnan(array["novelty"][1:]).all()
    assert array["note"].tolist() == ["x"] + [""] * 23
    assert experiments.summarize(records) == experiments.summarize(tables())


def test_null_is_not_finite(tmp_path):
    records = experiments.load(changed(tmp_path, lambda record: record.update(test_mse=None)))
    assert math.isnan(records[0]["test_mse"])
    row = experiments.summarize(records)[0]
    assert math.isnan(row.test_mse.mean) and row.decision_quality == experiments.summarize(tables())[0].decision_quality


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("method"), "changed.jsonl:1: not a record of a run: method is None"),
        (lambda record: record.update(seed="0"), "changed.jsonl:1: not a record of a run: seed is '0'"),
        (lambda record: record.update(test_mse=[1]), r"changed.jsonl:1: not a record of a run: test_mse is \[1\]"),
    ],
)
def test_what_is_no_record_is_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        experiments.load(changed(tmp_path, change))


def test_what_is_no_result_is_named(tmp_path):
    path = tmp_path / "results.jsonl"
    for text, message in (("{}\n{", "1: not a record"), ("[1]\n", "1: not a record"), ("{\n", "1: not JSON")):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"results.jsonl:{message}"):
            experiments.load(path)
    path.write_text(TABLES.read_text() + AGENTS.read_text())
    with pytest.raises(ValueError, match="records of agent and decision runs"):
        experiments.load(path)


# ----------------------------------------------------------------------------------------------------------------------
# Tables


def test_tables_are_the_command_lines():
    """Every column that both have; standard errors, the order of rows, the paper's numbers."""
    with open(SUMMARY, newline="") as file:
        expected = list(csv.DictReader(file))
    table = experiments.table(experiments.summarize(tables()), experiments.load_paper(SUMMARY))
    assert len(table) == len(expected) == 7
    common = [name for name in expected[0] if name in table.dtype.names]
    assert len(common) == len(expected[0]) - 2  # all but the means of best_iteration and seconds
    for name in common:
        if table[name].dtype.kind == "U":
            assert table[name].tolist() == [row[name] for row in expected]
        else:
            numbers = [float(row[name] or "nan") for row in expected]
            assert np.allclose(table[name], numbers, rtol=1e-13, atol=0, equal_nan=True), name


def test_two_settings_are_two_rows():
    rows = [row for row in experiments.summarize(tables()) if row.method == "taskmet" and row.problem == "cubic"]
    assert [row.label for row in rows] == [f"taskmet [paper {row.settings_hash[:4]}]" for row in rows]
    assert len({row.settings_hash for row in rows}) == 2
    assert [row.runs for row in rows] == [4, 4]
    others = [row.label for row in experiments.summarize(tables()) if row not in rows]
    assert others == ["mse", "dfl", "lodl", "mse", "taskmet"]


def test_a_run_counts_once(tmp_path):
    path = tmp_path / "twice.jsonl"
    path.write_text(TABLES.read_text() * 2)
    assert experiments.summarize(experiments.load(path)) == experiments.summarize(tables())


def test_without_the_papers_numbers():
    table = experiments.table(experiments.summarize(tables()))
    assert not any(name.startswith("paper") for name in table.dtype.names)
    with pytest.raises(ValueError, match=r"figure4\.csv has no column problem, method, paper_decision_quality"):
        experiments.load_paper(HERE / "results" / "figure4.csv")


def test_the_summary_is_the_present_command_lines():
    """The committed summary is what the built command line makes of the committed records."""
    if not COMMAND_LINE.exists():
        pytest.skip("the command line is not built")
    command = [COMMAND_LINE, "summarize", TABLES, "--format", "csv"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == SUMMARY.read_text().strip()


def test_present_records_are_read(tmp_path):
    """A record that the built command line writes now has the fields of the committed ones."""
    if not COMMAND_LINE.exists():
        pytest.skip("the command line is not built")
    output = tmp_path / "results.jsonl"
    shutil.copy(TABLES, output)
    quick = ["outer_iterations=1", "inner_iterations=1", "warmup_iterations=1", "validation_interval=1"]
    options = [part for setting in quick for part in ("--set", setting)]
    command = [COMMAND_LINE, "reproduce", "table2", "--problems", "cubic", "--methods", "mse", "--jobs", "1"]
    subprocess.run(
        [*command, "--datasets", "1", "--seeds", "1", "--output", output, *options], capture_output=True, check=True
    )
    records = experiments.load(output)
    assert len(records) == 25
    assert set(records[-1]) == set(records[0])


# ----------------------------------------------------------------------------------------------------------------------
# Agents


def test_learning_curves_are_means_over_seeds():
    curves = experiments.learning_curves(agents())
    assert [(curve.agent, curve.distractors, curve.seeds) for curve in curves] == [
        *(("mle", 0, 2), ("taskmet", 0, 2), ("mle", 2, 2), ("taskmet", 2, 2))
    ]
    first, second = agents().select(label="taskmet 2 distractors")
    curve = curves[3]
    assert curve.label == "taskmet 2 distractors"
    assert curve.steps.tolist() == first["step"] == [1000, 2000, 3000, 4000, 5000, 6000]
    assert np.allclose(curve.mean, (np.array(first["return"]) + second["return"]) / 2, rtol=1e-14)
    assert np.allclose(curve.error, np.abs(np.array(first["return"]) - second["return"]) / 2, rtol=1e-14)


def test_means_of_agents_are_the_command_lines():
    """As `taskmet summarize cartpole.jsonl` prints them."""
    rows = {row.label: row for row in experiments.summarize_agents(agents())}
    printed = {
        "mle": (183.4, 41.4, 156.9, 34.1),
        "taskmet": (207.9, 22.4, 177.3, 18.3),
        "mle 2 distractors": (100.6, 10.2, 87.1, 7.8),
        "taskmet 2 distractors": (105.7, 12.7, 91.3, 9.9),
    }
    assert list(rows) == list(printed)
    for label, numbers in printed.items():
        final, mean = rows[label].final_return, rows[label].mean_return
        # Printed with one digit behind the point.
        assert [final.mean, final.error, mean.mean, mean.error] == pytest.approx(numbers, abs=0.0501)


def test_the_metric_is_a_curve_of_each_coordinate():
    """Agents without a metric have none."""
    curves = experiments.learning_curves(agents(), "metric_diagonal")
    assert [(curve.label, curve.mean.shape) for curve in curves] == [
        *(("taskmet", (6, 4)), ("taskmet 2 distractors", (6, 6)))
    ]
    with pytest.raises(ValueError, match="'seconds' is not a field with a value for each evaluation"):
        experiments.learning_curves(agents(), "seconds")


def test_the_longest_run_of_a_seed_counts(tmp_path):
    """As the command line has it, a longer run begins as the shorter one; curves end where the shortest seed's does."""

    def longer(record):
        record["steps"] = 7000
        for name in ("step", "return", "model_error", "state_model_error", "metric_diagonal"):
            record[name].append(7000 if name == "step" else record[name][-1])
        record["return"][-1] = 500.0

    path = changed(tmp_path, longer, AGENTS)
    path.write_text(AGENTS.read_text() + path.read_text().splitlines()[0] + "\n")
    records = experiments.load(path)
    assert len(records) == 9
    row = experiments.summarize_agents(records)[0]
    returns = [np.array(run["return"]) for run in records.select(label="mle")]
    assert (row.label, row.seeds, row.steps) == ("mle", 2, 6000)
    last = [returns[2][-5:].mean(), returns[1][-5:].mean()]
    assert row.final_return.mean == pytest.approx(np.mean(last), rel=1e-14)
    assert row.final_return.error == pytest.approx(abs(last[0] - last[1]) / 2, rel=1e-12)
    assert row.mean_return.mean == pytest.approx((returns[2].mean() + returns[1].mean()) / 2, rel=1e-14)
    assert experiments.learning_curves(records)[0].steps[-1] == 6000


def test_settings_of_agents_are_told_apart(tmp_path):
    path = changed(tmp_path, lambda record: record.update(settings_hash="abcdef"), AGENTS)
    labels = [row.label for row in experiments.summarize_agents(experiments.load(path))]
    original = agents()[0]["settings_hash"][:4]
    assert sorted(labels[:2]) == sorted(["mle [abcd]", f"mle [{original}]"])
    assert labels[2] == "taskmet"


def test_each_kind_has_its_functions():
    with pytest.raises(ValueError, match="use summarize_agents"):
        experiments.summarize(agents())
    with pytest.raises(ValueError, match="use summarize"):
        experiments.learning_curves(tables())
