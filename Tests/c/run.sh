#!/bin/sh
# run.sh <libdir> <includedir> <builddir>: builds the C tests of this folder against libtaskmet.so and runs them:
#   1. with AddressSanitizer and UndefinedBehaviorSanitizer on the C side;
#   2. without, at small sizes, under valgrind, if there is one.
# The tests of memory, which limit or measure their own, run by themselves instead.
# The last line is "c: N passed, M failed"; the exit status is 0 if nothing failed.
#
# Environment: CC (cc), TASKMET_NO_VALGRIND=1 leaves step 2 out, TASKMET_TEST=<name> runs that program alone.
set -u

if [ $# -ne 3 ]; then
    echo "usage: $0 <libdir> <includedir> <builddir>" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd) || exit 2
libdir=$(cd "$1" && pwd) || exit 2
includedir=$(cd "$2" && pwd) || exit 2
mkdir -p "$3" && build=$(cd "$3" && pwd) || exit 2

cc=${CC:-cc}
warnings="-std=c99 -Wall -Wextra -Wpedantic -Wconversion -Werror"
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"

if [ ! -f "$libdir/libtaskmet.so" ]; then
    echo "$0: no libtaskmet.so in $libdir" >&2
    exit 2
fi

# A program asks for the library by its SONAME, which need not be its file's name where it was just built.
mkdir -p "$build/lib"
ln -sf "$libdir/libtaskmet.so" "$build/lib/libtaskmet.so"
soname=$(readelf -d "$libdir/libtaskmet.so" 2>/dev/null | sed -n 's/.*SONAME.*\[\(.*\)\].*/\1/p')
[ -n "$soname" ] && ln -sf "$libdir/libtaskmet.so" "$build/lib/$soname"

passed=0
failed=0

# note <name> <status> <output file>: adds a program's own totals; a program that ends without them is a failure.
note() {
    counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$3" | tail -n 1)
    if [ -z "$counts" ]; then
        echo "$1: FAILED: ended with status $2 and no totals"
        failed=$((failed + 1))
        return
    fi
    good=${counts%% *}
    bad=${counts#*, }
    bad=${bad%% *}
    passed=$((passed + good))
    failed=$((failed + bad))
    if [ "$2" -ne 0 ] && [ "$bad" -eq 0 ]; then
        echo "$1: FAILED: ended with status $2 after \"$counts\""
        failed=$((failed + 1))
    fi
}

# compile <source> <program> <flags>
compile() {
    # shellcheck disable=SC2086
    if $cc $warnings $3 -I"$includedir" -I"$here" "$1" -o "$2" \
        -L"$build/lib" -Wl,-rpath,"$build/lib" -ltaskmet -pthread -lm; then
        return 0
    fi
    echo "$1: FAILED: does not compile"
    failed=$((failed + 1))
    return 1
}

# The library is not instrumented, and its runtime keeps a few bytes to the end: no leak detection here (valgrind does
# that). A request for more memory than there is must return NULL, as it does without the sanitizer.
run_sanitized() {
    name=$(basename "$1" .c)
    compile "$1" "$build/$name" "-g -O1 $sanitizers" || return
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
        "$build/$name" >"$build/$name.out" 2>&1
    status=$?
    echo "== $name"
    cat "$build/$name.out"
    note "$name" "$status" "$build/$name.out"
}

# One thread of OpenBLAS's: it does not survive that another cannot be made.
run_plain() {
    name=$(basename "$1" .c)
    compile "$1" "$build/$name" "-g -O1" || return
    OPENBLAS_NUM_THREADS=1 "$build/$name" >"$build/$name.out" 2>&1
    status=$?
    echo "== $name"
    cat "$build/$name.out"
    note "$name" "$status" "$build/$name.out"
}

# Valgrind knows no AVX-512: OpenBLAS is asked for the kernels of an older core, in these runs only.
run_valgrind() {
    name=$(basename "$1" .c)
    program="$build/$name-plain"
    compile "$1" "$program" "-g -O1" || return
    set -- --quiet --leak-check=full --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect \
        --error-exitcode=9 --num-callers=30
    [ -f "$here/valgrind.supp" ] && set -- "$@" "--suppressions=$here/valgrind.supp"
    OPENBLAS_CORETYPE=Haswell valgrind "$@" "$program" quick >"$build/$name.valgrind" 2>&1
    status=$?
    if [ "$status" -eq 0 ]; then
        echo "== $name (valgrind): clean"
        passed=$((passed + 1))
    else
        echo "== $name (valgrind)"
        head -n 200 "$build/$name.valgrind"
        echo "$name: FAILED: valgrind ended with status $status"
        failed=$((failed + 1))
    fi
}

measures_memory() {
    case "$(basename "$1")" in
        test_memory.c | test_streaming_memory.c) true ;;
        *) false ;;
    esac
}

for source in "$here"/test_${TASKMET_TEST:-*}.c; do
    if measures_memory "$source"; then run_plain "$source"; else run_sanitized "$source"; fi
done

if [ -n "${TASKMET_NO_VALGRIND:-}" ]; then
    echo "valgrind: left out"
elif command -v valgrind >/dev/null 2>&1; then
    for source in "$here"/test_${TASKMET_TEST:-*}.c; do
        measures_memory "$source" || run_valgrind "$source"
    done
else
    echo "valgrind: not found (Debian package valgrind); the runs under it are left out"
fi

echo "c: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
