#!/usr/bin/env bash
# usage: check-header.sh INCLUDE_DIRECTORY
# Compiles taskmet.h alone, included twice, as C99, C11 and C++17 with strict warnings, by every compiler that is there.
set -euo pipefail

include=$1
unit='#include <taskmet.h>
#include <taskmet.h>'
failed=0
tried=0

for compiler in gcc clang; do
  command -v "$compiler" >/dev/null || continue
  for standard in c99 c11 c++17; do
    case $standard in c++*) language=c++ ;; *) language=c ;; esac
    tried=$((tried + 1))
    # -I, not -isystem: warnings inside system headers are not shown.
    "$compiler" -x $language -std=$standard -Wall -Wextra -Wpedantic -Wconversion -Werror -fsyntax-only \
      -I"$include" - <<<"$unit" || { echo "taskmet.h: $compiler -std=$standard FAILED"; failed=$((failed + 1)); }
  done
done

echo "taskmet.h: compiled alone in $((tried - failed)) of $tried ways"
[ "$tried" -gt 0 ] && [ "$failed" -eq 0 ]
