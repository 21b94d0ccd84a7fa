"""What comes as a pandas DataFrame."""

from pathlib import Path

import numpy as np
import pandas
import taskmet
from taskmet import experiments

RESULTS = Path(__file__).resolve().parents[1] / "python" / "results"


def test_records_and_tables():
    records = experiments.load(RESULTS / "tables.jsonl")
    frame = records.frame()
    assert frame.shape == (24, len(records.array().dtype.names))
    assert frame.groupby("problem")["test_mse"].count().to_dict() == {"budget": 4, "cubic": 20}
    rows = experiments.summarize(records)
    table = pandas.DataFrame(experiments.table(rows))
    means = frame.groupby(["problem", "method", "settings_hash"])["decision_quality"].mean()
    for row in rows:
        assert np.isclose(means[row.problem, row.method, row.settings_hash], row.decision_quality.mean, rtol=1e-14)
    assert table["decision_quality_mean"].tolist() == [row.decision_quality.mean for row in rows]


def test_history():
    data = taskmet.Dataset([[0.0], [1.0]], [1.0, 3.0])
    metric = taskmet.Metric.constant(1, "scalar")
    trainer = taskmet.Trainer(taskmet.Linear(1), metric, data, taskmet.squared_error, outer_iterations=2).fit()
    frame = trainer.history_frame()
    assert frame["iteration"].tolist() == [0, 1, 2]
    assert list(frame.columns) == list(taskmet.Record._fields)
