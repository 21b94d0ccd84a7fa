"""TaskMet beside public libraries: times in one session, interleaved, and how far they are from the machine's limits.

    python benchmarks/run.py [--only PATTERN] [--repeats 7] [--clock wall] [--out DIRECTORY] [--fresh] [--docs]

Each row is measured in a process that has as many cores as the row has threads. Results go to DIRECTORY/results.jsonl
as they are there; a run that was interrupted goes on from them, as long as library, clock and repeats are the same. At
the end there are DIRECTORY/results.json and DIRECTORY/results.md; --docs puts the tables into docs/performance.md too.
`make bench` makes the environment and calls this.
"""

import argparse
import contextlib
import fnmatch
import hashlib
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
DOCUMENT = ROOT / "docs" / "performance.md"

from sidebyside import probes, report
from sidebyside.measure import CLOCKS


def environment(threads):
    """What libraries read when they are loaded: numbers of threads, and no OpenBLAS core but the machine's own."""
    values = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
    # Our threads are the library's own; OpenBLAS under them has one (taskmet.h, taskmet_workspace_create).
    values["OPENBLAS_NUM_THREADS"] = "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        values[name] = str(threads)
    several = "true" if threads > 1 else "false"
    values["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={several}"
    values["PYTHONPATH"] = str(HERE)
    return values


def fingerprint(repeats, clock):
    """Of what results depend on: the library's bits and how it was measured."""
    import taskmet

    digest = hashlib.sha256(pathlib.Path(probes.library_path()).read_bytes()).hexdigest()[:16]
    return {"library": taskmet.__version__, "library_digest": digest, "repeats": repeats, "clock": clock}


def versions():
    """Of what is compared."""
    import importlib.metadata

    found = {}
    for name in ("numpy", "torch", "torchopt", "jax", "jaxlib", "jaxopt", "cvxpy", "cvxpylayers", "diffcp", "scs"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def load(path, key):
    """Results that are there already and belong to this library and this way to measure: (machine, {name: result})."""
    machine, results = None, {}
    if not path.exists():
        return machine, results
    lines = path.read_text().splitlines()
    if not lines or json.loads(lines[0]).get("fingerprint") != key:
        return machine, results
    for line in lines[1:]:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the line that was being written when the run was interrupted
            continue
        if "machine" in entry:
            machine = machine or entry["machine"]
        else:
            results[entry["name"]] = entry
    return machine, results


def batches(rows):
    """Rows that may share a process: those of one group and one number of threads, in the order of declaration."""
    found = {}
    for row in rows:
        # Scaling rows tell their memory, and need a process without other rows' garbage.
        key = row.name if row.group == "scaling" else (row.group, row.threads)
        found.setdefault(key, []).append(row)
    return list(found.values())


def run(rows, path, repeats, clock):
    """Runs rows in workers, each batch in its own; shows each result when it is there."""
    for batch in batches(rows):
        command = [sys.executable, "-m", "sidebyside.worker", "--threads", str(batch[0].threads), "--clock", clock]
        command += ["--repeats", str(repeats), "--out", str(path), *(row.name for row in batch)]
        seen = path.stat().st_size
        process = subprocess.Popen(command, env=environment(batch[0].threads), cwd=HERE)
        while process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            seen = show(path, seen)
        if process.returncode != 0:
            print(f"the process that measured {batch[0].name} and following ended with {process.returncode}")


def show(path, start):
    """Prints the results that were written beyond `start`; where the next ones will begin."""
    with open(path) as file:
        file.seek(start)
        text = file.read()
    whole = text[: text.rfind("\n") + 1]
    for line in whole.splitlines():
        entry = json.loads(line)
        if "name" in entry:
            print(report.line(entry), flush=True)
    return start + len(whole.encode())


def write(results, about, out, docs):
    """results.json, results.md and the section of docs/performance.md."""
    (out / "results.json").write_text(json.dumps({"about": about, "rows": list(results.values())}, indent=1) + "\n")
    text = report.markdown(list(results.values()), about)
    (out / "results.md").write_text(text)
    if docs:
        DOCUMENT.write_text(report.fill(DOCUMENT.read_text(), text))
    print("\n" + text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", default="*", help="rows whose name matches one of these patterns, as in step/*,task/*"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: for a machine with other work")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / ".build" / "bench")
    parser.add_argument("--fresh", action="store_true", help="measure again what there are results of")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--list", action="store_true", help="the rows' names alone")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {arguments.repeats}")

    os.environ.update(environment(1))
    from sidebyside.rows import ROWS

    patterns = arguments.only.split(",")
    chosen = [row for row in ROWS.values() if any(fnmatch.fnmatch(row.name, pattern) for pattern in patterns)]
    if arguments.list:
        print("\n".join(row.name for row in chosen))
        return 0
    if not chosen:
        parser.error(f"--only {arguments.only} matches no row; --list shows them")

    arguments.out.mkdir(parents=True, exist_ok=True)
    path, key = arguments.out / "results.jsonl", fingerprint(arguments.repeats, arguments.clock)
    _, known = ({}, {}) if arguments.fresh else load(path, key)
    if not known:
        path.write_text(json.dumps({"fingerprint": key}) + "\n")
    elif not path.read_text().endswith("\n"):  # what was being written when the run was interrupted ends here
        path.write_text(path.read_text() + "\n")
    done = {name for name, result in known.items() if result["status"] == "measured"}
    run([row for row in chosen if row.name not in done], path, arguments.repeats, arguments.clock)

    machine, results = load(path, key)
    # In the order of declaration; a row that was declared once and is not any more is left out.
    results = {name: results[name] for name in ROWS if name in results}
    about = {"machine": machine, "versions": versions(), **key}
    write(results, about, arguments.out, arguments.docs)
    missing = [row.name for row in chosen if row.name not in results]
    errors = [row.name for row in chosen if row.name in results and results[row.name]["status"] == "error"]
    for name in errors:
        print(f"ERROR {name}: {results[name]['note']}")
    for name in missing:
        print(f"ERROR {name}: no result")
    return 1 if errors or missing else 0


if __name__ == "__main__":
    sys.exit(main())
