#!/usr/bin/env bash
# build.sh api|asan|tsan|files|broken: builds fuzzers into .build/fuzz.
#   api     fuzz_api, against the release library (.build/release)
#   asan    the library with AddressSanitizer (.build/asan), and fuzz_api_asan against it, itself with UBSan too
#   tsan    the library with ThreadSanitizer (.build/tsan), and fuzz_api_tsan against it
#   files   the library's modules with coverage counters and AddressSanitizer (.build/fuzz/objects), and the libFuzzer
#           targets fuzz_* that link them
#   broken  libbroken.so, for test.sh
# Everything that is instrumented is compiled by the clang of the Swift toolchain, whose runtimes belong together.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$root/.build/fuzz
toolchain=$(dirname "$(readlink -f "$(command -v swiftc)")")
clang=$toolchain/clang
warnings="-Wall -Wextra -Werror"
mkdir -p "$out/targets"
cd "$root"

# library KIND SANITIZER: the shared library, instrumented, under the name that programs look for.
library() {
  swift build -c release --sanitize="$2" --scratch-path ".build/$1" --product taskmet -Xswiftc -static-stdlib
  ln -sf libtaskmet.so ".build/$1/release/libtaskmet.so.0"
}

# api PROGRAM LIBRARY_DIRECTORY COMPILER FLAGS...; valgrind reads no newer debugging information than DWARF 4.
api() {
  local program=$1 directory=$2 compiler=$3
  shift 3
  bash "$here/list_functions.sh" include/taskmet.h "$out/targets"
  # shellcheck disable=SC2086
  "$compiler" -std=c11 -O1 -gdwarf-4 $warnings "$@" -Iinclude -I"$out/targets" \
    "$here"/{fuzz_api,calls,calls_data,calls_streams,calls_predictor,calls_metric,calls_learning,calls_tasks}.c \
    "$here"/{calls_trainer,callbacks,world}.c -o "$out/$program" \
    -L"$directory" -Wl,-rpath,"$root/$directory" -ltaskmet -lm -pthread "${libraries[@]}"
}
libraries=()

files() {
  local objects=.build/fuzz/objects target flags=(-sanitize=fuzzer,address)
  swift build -c release --scratch-path "$objects" --target TaskMetExperiments -Xswiftc "${flags[0]}" \
    -Xswiftc -enable-testing
  local modules=$objects/release
  swiftc -O -parse-as-library "${flags[@]}" -I "$modules/Modules" -I Sources/CTaskMet -I Sources/COpenBLAS \
    -module-name FuzzReaders -c "$here/readers.swift" -o "$out/targets/readers.o"
  for target in fuzz_model_file fuzz_checkpoint fuzz_options fuzz_npy fuzz_readers; do
    # shellcheck disable=SC2086
    "$clang" -std=c11 -O1 -g $warnings -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -Iinclude \
      -c "$here/$target.c" -o "$out/targets/$target.o"
    local parts=("$modules"/TaskMetSwift.build/*.o "$modules"/CKernels.build/*.o)
    [ $target != fuzz_readers ] || parts+=("$modules"/TaskMetExperiments.build/*.o "$out/targets/readers.o")
    swiftc "${flags[@]}" -static-stdlib -use-ld=lld "${parts[@]}" "$out/targets/$target.o" -o "$out/$target"
  done
  # shellcheck disable=SC2086
  cc -std=c11 $warnings -Iinclude "$here/make_corpus.c" -o "$out/make_corpus" -L.build/release \
    -Wl,-rpath,"$root/.build/release" -ltaskmet -lm
}

case ${1:-} in
  api) api fuzz_api .build/release "$clang" ;;
  asan)
    library asan address
    api fuzz_api_asan .build/asan/release "$clang" -fuse-ld=lld -fsanitize=address,undefined \
      -fno-sanitize-recover=undefined -fno-omit-frame-pointer
    ;;
  tsan)
    library tsan thread
    # ThreadSanitizer's runtime in a Swift toolchain asks for libdispatch.
    libraries=(-L"$toolchain/../lib/swift/linux" -Wl,-rpath,"$toolchain/../lib/swift/linux" -ldispatch -lBlocksRuntime)
    api fuzz_api_tsan .build/tsan/release "$clang" -fuse-ld=lld -fsanitize=thread
    ;;
  files) files ;;
  broken)
    # shellcheck disable=SC2086
    cc -std=c11 -O1 $warnings -shared -fPIC -Iinclude "$here/broken.c" -o "$out/libbroken.so" -ldl
    ;;
  *) echo "usage: $0 api|asan|tsan|files|broken" >&2; exit 2 ;;
esac
