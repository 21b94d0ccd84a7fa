"""The examples run, and reach what they promise; the notebook too."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "bindings" / "python" / "examples"


def run(name, *arguments):
    """What an example prints."""
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_quickstart():
    first, last = map(float, re.findall(r"cost (\S+)", run("quickstart.py")))
    assert last < 0.1 * first


def fenced(text):
    """The Python programs of a Markdown text, as one."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


def run_text(text, directory):
    command = [sys.executable, "-c", fenced(text)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=directory).stdout


def test_programs_of_the_readme_and_the_guide(tmp_path):
    """They run as printed, and learn what they are there to show."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    report = run_text(readme, tmp_path)
    first, best = (float(re.search(rf"{name}_task_loss=([^,]+)", report).group(1)) for name in ("first", "best"))
    assert best < 0.1 * first
    assert (tmp_path / "line.safetensors").exists()
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    chapter = re.search(r"^## From Python\n(.*?)^## ", guide, flags=re.MULTILINE | re.DOTALL).group(1)
    two_stage, ours = map(float, run_text(chapter, tmp_path).splitlines()[:2])
    assert two_stage < 0 < 0.9 < ours


def test_the_program_of_the_reproduction(tmp_path):
    """It runs as printed, on small results."""
    results = ROOT / "Tests" / "python" / "results"
    names = {"tables.jsonl": "results.jsonl", "tables.csv": "summary.csv", "figure4.csv": "figure4.csv"}
    for name, there in names.items():
        shutil.copy(results / name, tmp_path / there)
    run_text((ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8"), tmp_path)
    for picture in ("tables.png", "figure4.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def write_load(path):
    """A year of hourly load that is higher when it is hot or cold, with summer time, a gap, and daily noise."""
    generator = np.random.default_rng(0)
    hours = np.arange(24 * 365)
    hours = hours[(hours < 2000) | (hours >= 2003)]
    angle = 2 * np.pi * hours / 24
    temperature = 55 - 25 * np.cos(angle / 365) - 8 * np.cos(angle) + np.repeat(generator.normal(0, 6, 365), 24)[hours]
    load = 0.8 + 0.0003 * (temperature - 60) ** 2 - 0.15 * np.cos(angle) + generator.normal(0, 0.03, len(hours))
    np.savetxt(path, np.column_stack([1.2e9 // 86400 * 86400 + 18000 + 3600.0 * hours, load, temperature]), "%.6f")


def test_grid_scheduling(tmp_path):
    write_load(tmp_path / "load.txt")
    printed = run("grid_scheduling.py", tmp_path / "load.txt", "--iterations", 30, "--cap", 1.2)
    assert "218 days to train on, 73 for validation, 73 for the test" in printed
    first, last = map(float, re.findall(r"  cost (\S+)", printed))
    assert last < 0.9 * first


def test_newsvendor():
    printed = run("newsvendor.py", "--days", 60, "--iterations", 15)
    quality = {line.split()[0]: float(line.split()[3]) for line in printed.splitlines()[1:]}
    assert quality["TaskMet"] > quality["two-stage"]


def test_notebook(tmp_path):
    """Every cell runs; the last one asserts what the text says."""
    notebook = nbformat.read(EXAMPLES / "where_errors_matter.ipynb", as_version=4)
    os.environ.setdefault("MPLCONFIGDIR", str(tmp_path))
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
