"""The package declares what include/taskmet.h declares, all of it, and the library exports it: neither can move alone.

The header's text gives the names, the order and the types; the C compiler gives the structs' layout.
"""

import ctypes
import os
import pathlib
import re
import subprocess

import pytest
from taskmet import _native

HEADER = pathlib.Path(__file__).resolve().parents[2] / "include" / "taskmet.h"
TEXT = re.sub(r"/\*.*?\*/", " ", HEADER.read_text(encoding="utf-8"), flags=re.DOTALL)
SCALARS = {
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "double": ctypes.c_double,
    "float": ctypes.c_float,
}
ENUMERATIONS = dict.fromkeys(re.findall(r"typedef int32_t (\w+);", TEXT), ctypes.c_int32)
STRUCTS = re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", TEXT, flags=re.DOTALL)
CALLBACKS = re.findall(r"typedef (\w+) \(\*(\w+)\)\(([^()]*)\);", TEXT)
FUNCTIONS = [
    (name, result, arguments)
    for result, name, arguments in re.findall(
        r"^((?:const )?\w+[ *]+)(taskmet_\w+)\(((?:[^()]|\([^()]*\))*)\);", TEXT, flags=re.MULTILINE
    )
]
# The structs that callbacks read: their arrays arrive as addresses.
BATCHES = ("taskmet_task_batch", "taskmet_oracle_batch")


def split(parameters):
    """A list of parameters, split at the commas outside parentheses."""
    parts = re.split(r",(?![^(]*\))", parameters)
    return [] if [part.strip() for part in parts] == ["void"] else [part.strip() for part in parts]


def declared_type(declaration, in_callback=False):
    """The ctypes type of a parameter or a field ("const double *x"). In what callbacks get, pointers are addresses."""
    function = re.fullmatch(r"(\w+) \(\*\w+\)\((.*)\)", declaration, flags=re.DOTALL)
    if function:
        return callback_type(function.group(1), function.group(2))
    words = re.sub(r"\b(const|struct)\b", " ", declaration).replace("*", " * ").split()
    base, stars = words[0], words.count("*")
    if base in _native.CALLBACKS:
        return _native.CALLBACKS[base]
    if base in _native.STRUCTS and stars == 1:
        return ctypes.POINTER(_native.STRUCTS[base])
    if base == "char":
        return {1: ctypes.c_char_p, 2: ctypes.POINTER(ctypes.c_char_p)}[stars]
    if in_callback and stars:
        return ctypes.c_void_p
    if base in SCALARS | ENUMERATIONS:
        scalar = (SCALARS | ENUMERATIONS)[base]
        return ctypes.POINTER(scalar) if stars else scalar
    return {0: None, 1: ctypes.c_void_p, 2: ctypes.POINTER(ctypes.c_void_p)}[stars]  # void, or a handle


def callback_type(result, parameters):
    return ctypes.CFUNCTYPE(declared_type(result), *(declared_type(part, True) for part in split(parameters)))


def declared_result(result):
    return _native.Status if result.strip() == "taskmet_status" else declared_type(result)


def declared_fields(name, body):
    """(name, type) of each field; `double a, b;` are two."""
    for statement in filter(None, (part.strip() for part in body.split(";"))):
        function = re.match(r"\w+ \(\*(\w+)\)", statement)
        if function:
            yield function.group(1), declared_type(statement)
            continue
        first, *others = (part.strip() for part in statement.split(","))
        kind = declared_type(first, in_callback=name in BATCHES)
        for field in (first, *others):
            yield re.split(r"[ *]", field)[-1], kind


def test_every_function_is_declared():
    assert [name for name, *_ in FUNCTIONS if name not in _native.FUNCTIONS] == []
    assert [name for name in _native.FUNCTIONS if name not in {name for name, *_ in FUNCTIONS}] == []
    # Every name followed by a parenthesis is one: the expression above has missed none.
    assert set(re.findall(r"\b(taskmet_\w+)\(", TEXT)) == {name for name, *_ in FUNCTIONS}


@pytest.mark.parametrize(("name", "result", "arguments"), FUNCTIONS, ids=[name for name, *_ in FUNCTIONS])
def test_prototype(name, result, arguments):
    expected = declared_result(result), [declared_type(part) for part in split(arguments)]
    assert _native.FUNCTIONS[name] == expected


def test_every_callback_is_declared():
    assert {name: callback_type(result, parameters) for result, name, parameters in CALLBACKS} == _native.CALLBACKS


def test_every_struct_is_declared():
    assert [name for name, _ in STRUCTS] == list(_native.STRUCTS)


@pytest.mark.parametrize(("name", "body"), STRUCTS, ids=[name for name, _ in STRUCTS])
def test_struct_fields(name, body):
    assert list(declared_fields(name, body)) == _native.STRUCTS[name]._fields_


def test_struct_layout(tmp_path):
    """Sizes and offsets, as the C compiler has them."""
    lines = []
    for name, struct in _native.STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        lines += [f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));' for field, _ in struct._fields_]
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <stdio.h>\n#include <taskmet.h>\nint main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n"
    )
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, f"-I{HEADER.parent}", source, "-o", tmp_path / "layout"], check=True)
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    expected = {}
    for name, struct in _native.STRUCTS.items():
        expected[name] = ctypes.sizeof(struct)
        expected |= {f"{name}.{field}": getattr(struct, field).offset for field, _ in struct._fields_}
    assert {key: int(value) for key, value in map(str.split, printed.splitlines())} == expected


# The enumerations' prefixes in the header; statuses have two.
PREFIXES = {
    "CALLBACK": _native.CALLBACK,
    "ACTIVATION": _native.ACTIVATION,
    "STRUCTURE": _native.STRUCTURE,
    "NORMALIZATION": _native.NORMALIZATION,
    "SOLVER": _native.SOLVER,
    "INNER": _native.INNER,
    "PHASE": _native.PHASE,
    "STANDARDIZE": _native.STANDARDIZE,
    "SENSE": _native.SENSE,
    "PERTURBED": _native.PERTURBED,
    "LODL": _native.LODL_LOSS | _native.LODL_SAMPLING,
    "VERDICT": _native.VERDICT,
    "MODEL": _native.MODEL,
    "STOP": _native.STOP,
    "LOG": _native.LOG,
    "OPTION": _native.OPTION,
    "": _native.STATUSES | _native.PRECISION,
}


def test_enumerations():
    declared = {name: int(value) for name, value in re.findall(r"\bTASKMET_(\w+) = (\d+)", TEXT)}
    packaged = {
        f"{prefix}_{name}".lstrip("_").upper(): value
        for prefix, values in PREFIXES.items()
        for name, value in values.items()
    }
    assert packaged == declared


def test_abi_version():
    declared = int(re.search(r"#define TASKMET_ABI_VERSION (\d+)", TEXT).group(1))
    assert _native.ABI_VERSION == _native.library.abi_version() == declared


def test_statuses_have_the_library_s_names():
    for name, status in _native.STATUSES.items():
        assert _native.library.status_name(status).decode() == f"TASKMET_{name.upper()}"


def test_library_has_every_function():
    assert _native.library.missing == []
