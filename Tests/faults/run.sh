#!/usr/bin/env bash
# usage: run.sh LIBDIR INCLUDEDIR BUILDDIR [quick]
# The library in a world that goes wrong, and in a host that has other things to do: each program here says in its first lines
# what it tests. "quick" is the part for every `make test`: fewer kills, one bit of each byte.
# Environment: CC (cc), TASKMET_FAULT=<name> runs that program alone; TASKMET_PYTHON (python3) has NumPy and SciPy;
# TASKMET_WITH="torch" loads that too.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
libdir=$(cd "$1" && pwd) && includedir=$(cd "$2" && pwd) && mkdir -p "$3/lib" && build=$(cd "$3" && pwd) || exit 2
mode=${4:-}

soname=$(readelf -d "$libdir/libtaskmet.so" | sed -n 's/.*SONAME.*\[\(.*\)\].*/\1/p')
ln -sf "$libdir/libtaskmet.so" "$build/lib/libtaskmet.so"
ln -sf "$libdir/libtaskmet.so" "$build/lib/$soname"
cp "$libdir/libtaskmet.so" "$build/lib/libcopy.so"

passed=0
failed=0

# run NAME COMMAND...: adds the program's own totals; one that ends without them has failed.
run() {
  local name=$1 counts status
  timeout 900 "${@:2}" >"$build/$name.out" 2>&1
  status=$?
  echo "== $name"
  cat "$build/$name.out"
  counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$build/$name.out" | tail -n 1)
  if [ -z "$counts" ] || { [ "$status" -ne 0 ] && [[ $counts == *", 0 failed" ]]; }; then
    echo "$name: FAILED: ended with status $status"
    failed=$((failed + 1))
    return
  fi
  passed=$((passed + ${counts%% *}))
  counts=${counts#*, }
  failed=$((failed + ${counts%% *}))
}

wanted() { [ -z "${TASKMET_FAULT:-}" ] || [ "$TASKMET_FAULT" = "$1" ]; }

# compile NAME FLAGS...
compile() {
  "${CC:-cc}" -Wall -Wextra -g -O1 -I"$includedir" "$here/$1.c" -o "$build/$1" "${@:2}" -pthread -lm && return
  echo "$1: FAILED: does not compile"
  failed=$((failed + 1))
  return 1
}

# A locale with decimal commas, where the system can make one.
if [ -e /usr/share/i18n/locales/de_DE ] && command -v localedef >/dev/null; then
  mkdir -p "$build/locale"
  localedef -i de_DE -f UTF-8 "$build/locale/de_DE.UTF-8" 2>/dev/null && export LOCPATH=$build/locale
fi
# One thread of OpenBLAS's, as the trainers that share a process have it; what needs more asks for more.
export OPENBLAS_NUM_THREADS=1
# Thousands of small files: in memory, where there is such a place. Kills want a real disk, whose saves take time.
memory=${TMPDIR:-/tmp}
[ -d /dev/shm ] && [ -w /dev/shm ] && memory=/dev/shm

linked=(-std=c99 -Wpedantic -Wconversion -Werror -L"$build/lib" -Wl,-rpath,"$build/lib" -ltaskmet -lopenblas)
for name in fault_kill fault_disk fault_bits fault_memory host_environment host_fork host_resources; do
  wanted "$name" && compile "$name" "${linked[@]}" || continue
  files=$memory
  [ "$name" = fault_kill ] && files=${TMPDIR:-/tmp}
  TMPDIR=$files run "$name" "$build/$name" $mode
done
if wanted host_loading && compile host_loading -std=gnu99 -Werror -ldl; then
  run host_loading "$build/host_loading" "$build/lib/libtaskmet.so" "$build/lib/libcopy.so"
fi
if wanted host_together; then
  # shellcheck disable=SC2086  # a list of modules
  run host_together "${TASKMET_PYTHON:-python3}" "$here/host_together.py" "$build/lib/libtaskmet.so" \
    "$build/lib/libcopy.so" ${TASKMET_WITH:-}
fi

echo "faults: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
