"""The package alone needs NumPy; what else a module uses is imported with that module."""

import subprocess
import sys

import pytest

HEAVY = ["sklearn", "scipy", "torch", "jax", "matplotlib", "pandas", "tqdm"]


def imported(statement):
    script = f"import sys\n{statement}\nprint([m for m in {HEAVY} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_the_package_imports_numpy_alone():
    assert imported("import taskmet") == "[]"


@pytest.mark.parametrize("module", ["plot"])
def test_a_module_imports_its_library(module):
    assert "matplotlib" in imported(f"import taskmet.{module}")


def test_modules_are_found_when_asked_for():
    assert "matplotlib" in imported("import taskmet; taskmet.plot.metric_diagonal")
    assert imported("import taskmet; taskmet.experiments.load") == "[]"
    assert "matplotlib" in imported("import taskmet; taskmet.experiments.figures.figure6")


def test_the_regressor_is_found_when_asked_for():
    assert "sklearn" in imported("from taskmet import TaskMetRegressor")


@pytest.mark.parametrize(("variable", "message"), [("/nowhere/libtaskmet.so", "does not exist"), (None, None)])
def test_the_library_is_the_one_named(variable, message):
    """A path in TASKMET_LIBRARY wins; one that does not exist is an ImportError that says so."""
    if variable is None:
        assert imported("import taskmet; assert taskmet.__version__") == "[]"
        return
    script = f"import os; os.environ['TASKMET_LIBRARY'] = {variable!r}; import taskmet"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "ImportError" in result.stderr and message in result.stderr


def test_every_public_name_is_there():
    import taskmet

    assert sorted(name for name in taskmet.__all__ if not hasattr(taskmet, name)) == []
    with pytest.raises(AttributeError):
        taskmet.nothing  # noqa: B018
