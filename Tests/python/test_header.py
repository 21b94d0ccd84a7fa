"""The ctypes layer declares what include/taskmet.h declares: a wrong argument type would corrupt arguments silently."""

import ctypes
import re

import capi
import pytest
from capi import c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint64

INTEGERS = {"int32_t": c_int32, "int64_t": c_int64, "uint64_t": c_uint64, "size_t": c_size_t, "double": c_double}
TEXT = re.sub(r"/\*.*?\*/", " ", capi.HEADER.read_text(encoding="utf-8"), flags=re.DOTALL)
ENUMERATIONS = dict.fromkeys(re.findall(r"typedef int32_t (\w+);", TEXT), c_int32)
SCALARS = INTEGERS | ENUMERATIONS


def declared_type(declaration):
    """The ctypes type of a parameter or field ("const double *x"), None for void."""
    words = declaration.replace("*", " * ").split()
    base = next(word for word in words if word != "const")
    stars = words.count("*")
    if base == "void":
        return None
    if base == "char" and stars == 1:
        return c_char_p
    if base in SCALARS:
        return ctypes.POINTER(SCALARS[base]) if stars else SCALARS[base]
    if base in capi.STRUCTS:
        return ctypes.POINTER(capi.STRUCTS[base])
    return capi.NEW_HANDLE if stars == 2 else capi.HANDLE


def prototype(name):
    """(result, arguments) of a function of the header."""
    result, arguments = re.search(rf"([\w ]+[ *]+){name}\(([^()]*)\);", TEXT).groups()
    parts = [] if arguments.strip() == "void" else arguments.split(",")
    return declared_type(result), [declared_type(part) for part in parts]


@pytest.mark.parametrize("name", capi.PROTOTYPES)
def test_prototype(name):
    result, arguments = capi.PROTOTYPES[name]
    assert prototype(name) == (result, list(arguments))


@pytest.mark.parametrize("name", capi.STRUCTS)
def test_struct(name):
    body = re.search(rf"typedef struct {name} \{{(.*?)\}} {name};", TEXT, flags=re.DOTALL).group(1)
    fields = [field.strip() for field in body.split(";") if field.strip()]
    declared = [(field.split()[-1], declared_type(field)) for field in fields]
    assert declared == capi.STRUCTS[name]._fields_


@pytest.mark.parametrize(
    ("prefix", "values"),
    [
        ("ACTIVATION", capi.ACTIVATIONS),
        ("STRUCTURE", capi.STRUCTURES),
        ("NORMALIZATION", capi.NORMALIZATIONS),
        ("SOLVER", capi.SOLVERS),
    ],
)
def test_enumeration(prefix, values):
    declared = re.findall(rf"TASKMET_{prefix}_(\w+) = (\d+)", TEXT)
    assert {name.lower(): int(value) for name, value in declared} == values


def test_abi_version(library):
    declared = re.search(r"#define TASKMET_ABI_VERSION (\d+)", TEXT).group(1)
    assert library.abi_version() == int(declared)


def test_solver_options_defaults(library):
    options = capi.solver_options("cg")
    assert options.struct_size == ctypes.sizeof(capi.SolverOptions)
    assert (options.tolerance, options.ridge, options.normal_ridge) == (1e-8, 0.0, 0.0)
