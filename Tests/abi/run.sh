#!/usr/bin/env bash
# usage: run.sh DIRECTORY_OF_THE_BUILT_LIBRARY
# The binary interface: what the header declares and the library exports against what was released (packaging/abi), and a
# program of the oldest header with the library of today. (Offsets, sizes and constants: Tests/c/test_abi.c.)
set -uo pipefail

built=$(cd "$1" && pwd) || exit 1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

source "$root/Tests/check.sh"

soname=libtaskmet.so.$(sed -n 's/^#define TASKMET_ABI_VERSION *//p' "$root/include/taskmet.h")
mkdir "$work/lib"
ln -s "$built/libtaskmet.so" "$work/lib/libtaskmet.so"
ln -s "$built/libtaskmet.so" "$work/lib/$soname"

dump() { bash "$root/packaging/abi/dump.sh" "$1" "$2"; }

# compare OLD NEW: functions may come, fields may be appended to structs, and nothing else. (abidiff's own suppression of
# appended fields also hides a field that changes its type within the same size.)
compare() {
  local report
  report=$(abidiff --harmless --no-added-syms "$1" "$2")
  [ $(($? & ~4)) -eq 0 ] || { echo "$report"; return 1; }  # 4: something has changed
  ! grep -qE '^ *[0-9]+ data member (change|deletion)|type name changed|[1-9][0-9]* Removed' <<<"$report" ||
    { echo "$report"; return 1; }
}

released=$root/packaging/abi/$soname.abi
keeps_what_was_released() { dump "$root/include" "$work/now.abi" && compare "$released" "$work/now.abi"; }
keeps_what_is_oldest() { dump "$here/oldest" "$work/oldest.abi" && compare "$work/oldest.abi" "$work/now.abi"; }

# notices SED: the comparison is worth something only if it sees a change like this.
notices() {
  mkdir -p "$work/changed" && sed "$1" "$root/include/taskmet.h" >"$work/changed/taskmet.h" &&
    ! cmp -s "$work/changed/taskmet.h" "$root/include/taskmet.h" && dump "$work/changed" "$work/changed.abi" &&
    ! compare "$released" "$work/changed.abi" >/dev/null
}

exports_the_list() {
  nm -D --defined-only "$built/libtaskmet.so" | awk '{ print $NF }' | LC_ALL=C sort |
    diff "$root/packaging/abi/symbols.txt" - ||
    { echo "After a look at the difference (only additions are allowed): make abi-dump"; return 1; }
}

old_program() {
  "${CC:-cc}" -std=c99 -Wall -Wextra -Werror -I"$here/oldest" "$here/oldest/program.c" -o "$work/oldest" \
    -L"$work/lib" -ltaskmet -lm -Wl,-rpath,"$work/lib" && (cd "$work" && ./oldest)
}

check "the library exports the symbols of packaging/abi/symbols.txt" exports_the_list
check "the header keeps what was released" keeps_what_was_released
check "the header keeps what the oldest one had" keeps_what_is_oldest
check "a field in the middle would be noticed" notices 's/^    double objective;.*/    int64_t new;\n&/'
check "another type of a field would be noticed" notices 's/^    double learning_rate; /    float learning_rate; /'
check "another type of a parameter would be noticed" notices \
  's/double tolerance, double \*worst/float tolerance, double *worst/'
check "a function that is gone would be noticed" notices '/^int64_t taskmet_option_count/d'
check "a program of the oldest header runs with this library" old_program

echo "abi: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
