#!/usr/bin/env bash
# test.sh DIRECTORY_OF_THE_BUILT_LIBRARY: tests of the fuzzers themselves, in seconds.
#   1. the table of calls has every function that the library exports;
#   2. a program is a function of its seed, and a state file adds runs up;
#   3. random programs find nothing in the library, and find each of the promises that broken.c breaks.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/.build/fuzz
built=$(cd "${1:?usage: test.sh DIRECTORY_OF_THE_BUILT_LIBRARY}" && pwd) || exit 1
bash "$here/build.sh" api && bash "$here/build.sh" broken || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export OPENBLAS_NUM_THREADS=1
source "$here/../check.sh"

same_functions() {
  diff <("$out/fuzz_api" --list | sort) \
    <(nm -D --defined-only "$built/libtaskmet.so" | sed -n 's/.* T \(taskmet_[a-z0-9_]*\)$/\1/p' | sort)
}

same_program_twice() {
  "$out/fuzz_api" --seed 7 --programs 5 --trace >"$work/one" 2>&1 && "$out/fuzz_api" --seed 7 --programs 5 --trace \
    >"$work/two" 2>&1
  # Handles and the files' directory are told in messages, and differ.
  sed -i -E 's/0x[0-9a-f]+|fuzz_api-[A-Za-z0-9]+//g' "$work/one" "$work/two"
  [ -s "$work/one" ] && diff "$work/one" "$work/two"
}

adds_up() {
  rm -f "$work/state"
  "$out/fuzz_api" --programs 30 --state "$work/state" && "$out/fuzz_api" --programs 20 --state "$work/state" &&
    grep -x "next_seed 51" "$work/state" && grep -x "programs 50" "$work/state"
}

finds() { ! TASKMET_BREAK=$1 LD_PRELOAD=$out/libbroken.so "$out/fuzz_api" --programs 60; }

check "every exported function is called" same_functions
check "a program is a function of its seed" same_program_twice
check "a state file adds runs up" adds_up
check "300 random programs find nothing" "$out/fuzz_api" --programs 300
check "... nor through a library that breaks nothing" env LD_PRELOAD="$out/libbroken.so" "$out/fuzz_api" --programs 60
for promise in crash abort print nan overrun output status contents message leak free rows room late; do
  check "a broken promise is found: $promise" finds $promise
done
echo "fuzzers: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
