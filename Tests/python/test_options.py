"""The guide's table of options says what the library says of them."""

import pathlib
import re

import pytest
import taskmet

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "guide.md"
MOST = 2**53
GREATEST = 1.7976931348623157e308
ROW = re.compile(r"^\| `(\w+)` \| (int|double|string) \| (.+?) \| (.+?) \| (yes)? ?\| (.+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def table():
    """Name to (type, default, range, fixed, help) of the guide."""
    return {row[0]: row[1:] for row in ROW.findall(GUIDE.read_text(encoding="utf-8"))}


def test_names(table):
    assert list(table) == list(taskmet.options())


def test_rows(table):
    for name, option in taskmet.options().items():
        kind, default, _, fixed, text = table[name]
        assert kind == option.type, name
        assert text.replace("\\|", "|") == option.help, name
        assert bool(fixed) == option.fixed_after_start, name
        if option.type == "string":
            assert default == f"`{option.default}`", name
        else:
            assert float(default) == option.default, name


def test_ranges(table):
    for name, option in taskmet.options().items():
        allowed = table[name][2]
        if option.type == "string":
            assert tuple(word.strip("`") for word in allowed.split(", ")) == option.choices, name
        else:
            numbers = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", allowed)]
            assert numbers[0] == pytest.approx(option.minimum), name
            if len(numbers) > 1:
                assert numbers[1] == pytest.approx(option.maximum), name
            else:
                assert option.maximum in (MOST, GREATEST), name
