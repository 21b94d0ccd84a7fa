#!/usr/bin/env bash
# run.sh SECONDS [FUZZER...]: runs each fuzzer for so long; all of them unless some are named:
#   fuzz_api         random programs against the release library, sizes limited by the address space
#   fuzz_api_asan    the same against the library with AddressSanitizer
#   fuzz_model_file fuzz_checkpoint fuzz_options fuzz_npy fuzz_readers    libFuzzer targets
# What is there in .build/fuzz is gone on with: seeds and totals (*.state), corpora (corpus/). Inputs that broke
# something are in .build/fuzz/crashes. The last line is "fuzz: N passed, M failed".
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/.build/fuzz
seconds=${1:?usage: run.sh SECONDS [FUZZER...]}
shift
fuzzers=("$@")
[ ${#fuzzers[@]} -gt 0 ] ||
  fuzzers=(fuzz_api fuzz_api_asan fuzz_model_file fuzz_checkpoint fuzz_options fuzz_npy fuzz_readers)

# OpenBLAS's own threads are not what is tested, and an old core's kernels are nobody's choice.
export OPENBLAS_NUM_THREADS=1
unset OPENBLAS_CORETYPE
# The Swift runtime keeps a few bytes to the end; a size that no machine has is refused, as it is without the sanitizer.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=2048
export UBSAN_OPTIONS=print_stacktrace=1
passed=0
failed=0

run_api() {
  local options=(--seconds "$seconds" --state "$out/$1.state")
  [ "$1" = fuzz_api ] || options+=(--memory 0)
  "$out/$1" "${options[@]}" | tail -n 1
  return "${PIPESTATUS[0]}"
}

run_file() {
  local corpus=$out/corpus/$1 seeds=$out/seeds
  mkdir -p "$corpus" "$out/crashes/$1" "$seeds"/fuzz_{model_file,checkpoint,options,npy,readers}
  # Fresh files too: the format may have grown since the committed ones.
  "$out/make_corpus" "$seeds" || return 1
  ASAN_OPTIONS=$ASAN_OPTIONS:handle_abort=0 "$out/$1" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=4096 \
    -max_len=8192 -print_final_stats=1 -dict="$here/dictionaries/$1.dict" -artifact_prefix="$out/crashes/$1/" \
    "$corpus" "$here/corpus/$1" "$seeds/$1" >"$out/$1.log" 2>&1
  local status=$?
  if [ $status -ne 0 ]; then
    grep -vE '^#[0-9]+' "$out/$1.log" | tail -n 60
  else
    echo "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$1.log") inputs," \
      "$(find "$corpus" -type f | wc -l) in the corpus"
  fi
  return $status
}

for fuzzer in "${fuzzers[@]}"; do
  echo "== $fuzzer"
  case $fuzzer in fuzz_api*) run_api "$fuzzer" ;; *) run_file "$fuzzer" ;; esac
  if [ $? -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$fuzzer: FAILED"; fi
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
