#!/usr/bin/env bash
# usage: dump.sh INCLUDE_DIRECTORY OUTPUT
# Writes the binary interface that taskmet.h declares, as abidw sees it. The library itself is Swift's, and its debugging
# information knows nothing of the header's types: what is looked at is a C library of the same functions, without contents.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The compiler's own list of what the header declares: each line is `/* file:line:.. */ extern type name (parameters);`.
include=$(cd "$1" && pwd)
output=$(realpath -m "$2")
cd "$scratch"  # which would be in what is written
gcc -x c -fsyntax-only -aux-info declared "$include/taskmet.h"
{
  echo '#include <taskmet.h>'
  grep -F '/taskmet.h:' declared | sed -e 's|^/\*[^*]*\*/ *extern ||' -e 's/;$/ { __builtin_trap(); }/'
} >taskmet.c
gcc -std=c2x -g -fPIC -shared -Wl,-soname,libtaskmet.so -I"$include" taskmet.c -o libtaskmet.so
# Without what would differ from machine to machine.
abidw --no-corpus-path --no-comp-dir-path --no-show-locs libtaskmet.so >"$output"
