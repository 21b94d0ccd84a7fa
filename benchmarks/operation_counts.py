"""Counts operations of small pieces of the library's work and compares them with the committed counts: without a
clock, so that a busy machine does not matter.

    python3 benchmarks/operation_counts.py LIBRARY_DIRECTORY [--only PATTERN] [--update]

Instructions are those that valgrind counts (of a processor with AVX2, whatever the machine has); the others are counted
by the library and by a matrix product that passes on to OpenBLAS's. Prints a table. Ends with 1 where a count has risen
beyond its tolerance, with 0 where it has fallen: --update then writes the new ones to operation_counts.json.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BASELINE = HERE / "operation_counts.json"
# Relative changes beyond which a count has changed. Instructions vary a little with addresses and with the compiler.
TOLERANCE = {"instructions": 0.02}


def environment():
    """The same code in OpenBLAS on every machine: its choice of kernels and of block sizes is fixed."""
    values = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
    return values | {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512", "OPENBLAS_NUM_THREADS": "1"}


def compiled(library, directory):
    """The program with the cases."""
    program = pathlib.Path(directory, "operation_counts")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise SystemExit("a C compiler is needed")
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-rdynamic", f"-I{HERE.parent / 'include'}"]
    link = [f"-L{library}", "-ltaskmet", "-ldl", f"-Wl,-rpath,{library}"]
    subprocess.run([compiler, *flags, HERE / "operation_counts.c", "-o", program, *link], check=True)
    return program


def count(program, name, directory):
    """{what: number} of one case."""
    out = pathlib.Path(directory, "callgrind.out")
    # valgrind follows the function from its entry to its exit, and counts in nothing else.
    tool = ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=measured_work"]
    command = [*tool, f"--callgrind-out-file={out}", program, name]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed: {done.stderr.strip()[-500:]}")
    totals = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)
    if totals is None or int(totals[1]) == 0:
        raise SystemExit(f"{name}: valgrind counted nothing")
    counts = {"instructions": int(totals[1])} | json.loads(done.stdout)
    return {what: number for what, number in counts.items() if number}


def compare(before, now):
    """[(what, before, now, relative change, verdict)]; verdict: "", "more", "less", "new" or "gone"."""
    lines = []
    for what in sorted(before.keys() | now.keys()):
        old, new = before.get(what), now.get(what)
        if old is None or new is None:
            lines.append((what, old, new, None, "new" if old is None else "gone"))
            continue
        change = new / old - 1
        beyond = abs(change) > TOLERANCE.get(what, 0)
        lines.append((what, old, new, change, ("more" if change > 0 else "less") if beyond else ""))
    return lines


def show(name, lines):
    """Prints a case."""
    for what, old, new, change, verdict in lines:
        figures = "".join(f"{'-' if value is None else value:>16}" for value in (old, new))
        print(f"{name:<26}{what:<18}{figures}{'' if change is None else f'{100 * change:+9.2f} %':>12}  {verdict}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=pathlib.Path, help="the directory of libtaskmet.so")
    parser.add_argument("--only", default="*", help="cases whose name matches the pattern")
    parser.add_argument("--update", action="store_true", help="make these counts the committed ones")
    parser.add_argument("--baseline", type=pathlib.Path, default=BASELINE)
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is needed")
    known = json.loads(arguments.baseline.read_text()) if arguments.baseline.exists() else {}
    verdicts = set()
    with tempfile.TemporaryDirectory() as directory:
        program = compiled(arguments.library.resolve(), directory)
        names = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
        chosen = [name for name in names if fnmatch.fnmatch(name, arguments.only)]
        if not chosen:
            parser.error(f"--only {arguments.only} matches none of {', '.join(names)}")
        print(f"{'case':<26}{'count':<18}{'committed':>16}{'now':>16}{'change':>12}")
        for name in chosen:
            counts = count(program, name, directory)
            lines = compare(known.get(name, {}), counts)
            show(name, lines)
            verdicts.update(verdict for *_, verdict in lines)
            known[name] = counts
    if arguments.update:
        known = {name: known[name] for name in names if name in known}
        arguments.baseline.write_text(json.dumps(known, indent=1) + "\n")
        print(f"written to {arguments.baseline}")
        return 0
    changed = verdicts - {""}
    print(
        f"changed beyond the tolerance: {', '.join(sorted(changed))}" if changed else "no change beyond the tolerance"
    )
    return 1 if "more" in changed else 0


if __name__ == "__main__":
    sys.exit(main())
