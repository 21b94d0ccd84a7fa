"""Runs rows in one process and writes each result as a line of JSON when it is there.

    python -m sidebyside.worker --threads 1 --clock wall --repeats 7 --out results.jsonl NAME...

The process that starts this one sets the variables that libraries read when they are loaded; here the process is bound
to as many cores as it may use threads, which no library's own setting can undo.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from typing import Any


def bind(threads: int) -> None:
    """Leaves this process as many cores as it may use threads: the last ones, which the system uses least."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-threads:])


def plain(value: Any) -> Any:
    """JSON knows no numbers that are not finite."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--clock", required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    bind(arguments.threads)

    from sidebyside import measure, probes
    from sidebyside.rows import ROWS

    with open(arguments.out, "a", buffering=1) as out:
        out.write(json.dumps({"machine": probes.machine()}) + "\n")
        for name in arguments.names:
            result = measure.result_of(ROWS[name], arguments.repeats, arguments.clock)
            out.write(json.dumps(plain(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
