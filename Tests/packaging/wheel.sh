#!/usr/bin/env bash
# usage: wheel.sh DIRECTORY_OF_THE_REPAIRED_WHEEL
# Installs the wheel into empty virtual environments, away from the repository: the package's README runs as printed with NumPy
# alone, and then the package's tests and docstrings run against it.
set -euo pipefail

wheel=$(ls "$1"/*.whl)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset TASKMET_LIBRARY PYTHONPATH LD_LIBRARY_PATH

python3 -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip --quiet --disable-pip-version-check install "$wheel"
cd "$work"

fenced() { awk -v language="$1" '/^```/ { inside = ($0 == "```" language); next } inside' "$root/bindings/python/README.md"; }
fenced python >quickstart.py
"$python" quickstart.py | diff - <(fenced text)
echo "wheel: the README's program prints what the README says"

"$python" -m pip --quiet --disable-pip-version-check install -r "$root/Tests/python/requirements.txt"
# None of the system's own OpenBLAS: the wheel brings it.
"$python" -c 'import taskmet; print([l for l in open("/proc/self/maps") if "blas" in l and "site-packages" not in l])' |
  grep -qx '\[\]'
"$python" -m pytest -q -p no:cacheprovider "$root/Tests/python"
