"""The guide's table of options says what the library says of them."""

import ctypes
import re

import capi
import pytest

INT, DOUBLE, STRING = range(3)
MOST = 2**53
GREATEST = 1.7976931348623157e308
ROW = re.compile(r"^\| `(\w+)` \| (int|double|string) \| (.+?) \| (.+?) \| (yes)? ?\| (.+) \|$", re.MULTILINE)


class OptionDescription(ctypes.Structure):
    """taskmet_option_description."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("help", ctypes.c_char_p),
        ("type", ctypes.c_int32),
        ("fixed_after_start", ctypes.c_int32),
        ("int_default", ctypes.c_int64),
        ("int_minimum", ctypes.c_int64),
        ("int_maximum", ctypes.c_int64),
        ("double_default", ctypes.c_double),
        ("double_minimum", ctypes.c_double),
        ("double_maximum", ctypes.c_double),
        ("string_default", ctypes.c_char_p),
        ("choices", ctypes.c_char_p),
    ]


def listed(library):
    """Name to description, in the library's order."""
    raw = library._dll
    raw.taskmet_option_count.restype = ctypes.c_int64
    options = {}
    for index in range(raw.taskmet_option_count()):
        option = OptionDescription(struct_size=ctypes.sizeof(OptionDescription))
        assert raw.taskmet_option_info(ctypes.c_int64(index), ctypes.byref(option)) == 0
        options[option.name.decode()] = option
    return options


@pytest.fixture(scope="module")
def table():
    """Name to (type, default, range, fixed, help) of the guide."""
    text = (capi.HEADER.parent.parent / "docs" / "guide.md").read_text(encoding="utf-8")
    return {row[0]: row[1:] for row in ROW.findall(text)}


def test_names(library, table):
    assert list(table) == list(listed(library))


def test_rows(library, table):
    for name, option in listed(library).items():
        kind, default, _, fixed, text = table[name]
        assert kind == ("int", "double", "string")[option.type], name
        assert text.replace("\\|", "|") == option.help.decode(), name
        assert bool(fixed) == bool(option.fixed_after_start), name
        if option.type == STRING:
            assert default == f"`{option.string_default.decode()}`", name
        else:
            assert float(default) == (option.int_default if option.type == INT else option.double_default), name


def test_ranges(library, table):
    for name, option in listed(library).items():
        allowed = table[name][2]
        if option.type == STRING:
            assert [word.strip("`") for word in allowed.split(", ")] == option.choices.decode().split("|"), name
        else:
            low, high = (
                (option.int_minimum, option.int_maximum)
                if option.type == INT
                else (option.double_minimum, option.double_maximum)
            )
            numbers = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", allowed)]
            assert numbers[0] == pytest.approx(low), name
            assert (numbers[1] == pytest.approx(high)) if len(numbers) > 1 else high in (MOST, GREATEST), name
