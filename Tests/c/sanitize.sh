#!/usr/bin/env bash
# sanitize.sh BUILD_DIRECTORY: the C tests, the C++ example and random API programs against instrumented libraries,
# which Tests/fuzz/build.sh has made (asan, tsan); library and callers are compiled by the same toolchain:
#   1. AddressSanitizer in the library (its Swift too) and in the callers, UndefinedBehaviorSanitizer in the callers;
#   2. ThreadSanitizer in both: every C test that starts threads, and random programs on the library's own threads;
#   3. valgrind on random programs: no uninitialised value is used, nothing is lost (Tests/c/run.sh does the C tests).
# TASKMET_TEST=<name> runs that C test alone. The last line is "sanitizers: N passed, M failed".
#
# Tests that limit or measure their own memory are left to run.sh. OpenBLAS is not instrumented: it gets one thread, so that
# there is nothing of it to be seen. tsan.supp says what looks like a race and is none.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "${1:?usage: sanitize.sh BUILD_DIRECTORY}" && build=$(cd "$1" && pwd) || exit 2
toolchain=$(dirname "$(readlink -f "$(command -v swiftc)")")
swift_libraries=$toolchain/../lib/swift/linux
seed=${TASKMET_SEED:-1}
export OPENBLAS_NUM_THREADS=1
unset OPENBLAS_CORETYPE
# The Swift runtime keeps 17 bytes to the end: leaks are valgrind's to find.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=2048
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=exitcode=66:second_deadlock_stack=1:suppressions=$here/tsan.supp
passed=0
failed=0

# compile KIND SOURCE PROGRAM COMPILER FLAGS...
compile() {
  local kind=$1 source=$2 program=$3 compiler=$4
  shift 4
  "$toolchain/$compiler" -fuse-ld=lld -g -O1 -Wall -Wextra -I"$root/include" -I"$here" "$source" -o "$program" "$@" \
    -L"$root/.build/$kind/release" -Wl,-rpath,"$root/.build/$kind/release" -ltaskmet -pthread -lm
}

# check DESCRIPTION COMMAND...: counts, and shows the command's output where it fails.
check() {
  local log=$build/log
  if "${@:2}" >"$log" 2>&1; then
    passed=$((passed + 1)) && echo "ok     $1"
  else
    failed=$((failed + 1)) && echo "FAILED $1"
    head -n 100 "$log" | sed 's/^/       /'
  fi
}

# run KIND LANGUAGE SOURCE FLAGS...: compiles a program, and runs it at small sizes.
run() {
  local kind=$1 source=$3 compiler=clang program
  program=$build/$kind-$(basename "${3%.*}")
  [ "$2" = c99 ] || compiler=clang++
  compile "$kind" "$source" "$program" "$compiler" -std="$2" "${@:4}" && "$program" quick
}

address=(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
# ThreadSanitizer's runtime in a Swift toolchain asks for libdispatch.
thread=(-fsanitize=thread -L"$swift_libraries" -Wl,-rpath,"$swift_libraries" -ldispatch -lBlocksRuntime)

for source in "$here"/test_${TASKMET_TEST:-*}.c; do
  name=$(basename "$source" .c)
  case $name in test_memory | test_streaming_memory) continue ;; esac
  check "$name: addresses, undefined behaviour" run asan c99 "$source" "${address[@]}"
  if grep -q pthread_create "$source"; then check "$name: data races" run tsan c99 "$source" "${thread[@]}"; fi
done
if [ -z "${TASKMET_TEST:-}" ]; then
  fuzz=$root/.build/fuzz
  check "raii.cpp: addresses, undefined behaviour" run asan c++17 "$root/examples/cpp/raii.cpp" "${address[@]}"
  check "random programs: addresses, undefined behaviour" "$fuzz/fuzz_api_asan" --memory 0 --seed "$seed" --programs 300
  check "random programs: data races" "$fuzz/fuzz_api_tsan" --memory 0 --seed "$seed" --programs 200
  if command -v valgrind >/dev/null; then
    # Valgrind knows no AVX-512: OpenBLAS is asked for the kernels of an older core.
    check "random programs: valgrind" env OPENBLAS_CORETYPE=Haswell valgrind --quiet --leak-check=full \
      --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect --error-exitcode=9 \
      "$fuzz/fuzz_api" --trace --seed "$seed" --programs 30
  else
    echo "valgrind: not found (Debian package valgrind); the run under it is left out"
  fi
fi
echo "sanitizers: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
