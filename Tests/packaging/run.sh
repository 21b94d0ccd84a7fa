#!/usr/bin/env bash
# usage: run.sh DIRECTORY_OF_THE_BUILT_LIBRARY
# Looks into the built library, installs it into temporary places, and builds an outside program against each, by
# pkg-config and by CMake.
set -uo pipefail

built=$(cd "$1" && pwd) || exit 1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# Nothing from outside may help: no search paths, and no variables of a make that called this script.
unset LD_LIBRARY_PATH LD_PRELOAD LIBRARY_PATH CPATH C_INCLUDE_PATH CPLUS_INCLUDE_PATH
unset PKG_CONFIG_PATH PKG_CONFIG_LIBDIR CMAKE_PREFIX_PATH TaskMet_DIR TaskMet_ROOT
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES PREFIX LIBDIR DESTDIR CFLAGS

source "$root/Tests/check.sh"

# number NAME: a TASKMET_... number of the header.
number() { sed -n "s/^#define TASKMET_$1 *//p" "$root/include/taskmet.h"; }
major=$(number VERSION_MAJOR)
minor=$(number VERSION_MINOR)
version=$major.$minor.$(number VERSION_PATCH)
soname=libtaskmet.so.$(number ABI_VERSION)

# --- The library itself -----------------------------------------------------------------------------------------------

exported() { nm -D --defined-only "$1" | awk '{ print $NF }' | sort; }

# The compiler's own list of what the header declares; each line is `/* file:line:.. */ extern type name (parameters);`.
declared() {
  gcc -x c -fsyntax-only -aux-info "$work/declared" "$root/include/taskmet.h" || return
  grep -F '/taskmet.h:' "$work/declared" | sed 's/^[^(]*[ *]\([A-Za-z0-9_]*\) (.*/\1/' | sort
}

exports_only_taskmet() {
  exported "$1" >"$work/exported"
  [ -s "$work/exported" ] && ! grep -v '^taskmet_' "$work/exported"
}

# Both ways: what is declared and not exported (<), what is exported and not declared (>).
exports_the_header() {
  declared >"$work/functions" && [ -s "$work/functions" ] && diff "$work/functions" <(exported "$1")
}

has_soname() { readelf -d "$1" | grep -F "soname: [$soname]"; }
is_nodelete() { readelf -d "$1" | grep -E 'FLAGS_1.*NODELETE'; }

# Directly needed: the C and C++ runtimes and the linear algebra. Further down: also what those pull in.
direct='lib(c|m|pthread|dl|rt|util|stdc\+\+|gcc_s|openblas|lapacke)\.so.*|ld-linux.*'
indirect='lib(blas|lapack|tmglib|gfortran|quadmath|gomp)\.so.*|linux-vdso\.so.*'

needs_only_allowed() {
  readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >"$work/needed"
  [ -s "$work/needed" ] && ! grep -vxE "$direct" "$work/needed"
}

loads_only_allowed() {
  ldd "$1" >"$work/ldd" || return
  ! grep 'not found' "$work/ldd" && ! grep -iE 'libswift|libFoundation|libdispatch' "$work/ldd" &&
    ! awk '{ print $1 }' "$work/ldd" | sed 's|.*/||' | grep -vxE "$direct|$indirect"
}

look_into() {
  check "$2: exports nothing but taskmet_*" exports_only_taskmet "$1"
  check "$2: exports what the header declares, no more and no less" exports_the_header "$1"
  check "$2: its SONAME is $soname" has_soname "$1"
  check "$2: stays loaded (NODELETE)" is_nodelete "$1"
  check "$2: needs only allowed libraries" needs_only_allowed "$1"
  check "$2: loads only allowed libraries, none of Swift's" loads_only_allowed "$1"
}

# --- Outside programs -------------------------------------------------------------------------------------------------

# The program loads the library of the directory $2, and succeeds.
runs_with() {
  ldd "$1"
  [ "$(realpath "$(ldd "$1" | sed -n "s/.*$soname => \(.*\) (.*/\1/p")")" = "$(realpath "$2/$soname")" ] && "$1"
}

# by_pkg_config LIBDIR: a C and a C++ program with the flags of pkg-config alone.
by_pkg_config() {
  local flags out="$work/by-pkg-config"
  export PKG_CONFIG_PATH=$1/pkgconfig
  rm -rf "$out"
  mkdir "$out"
  [ "$(pkg-config --modversion taskmet)" = "$version" ] &&
    pkg-config --exact-version="$version" taskmet &&
    ! pkg-config --atleast-version=9.0 taskmet &&
    read -ra flags < <(pkg-config --cflags --libs taskmet) &&
    gcc -std=c99 -Wall -Wextra -Wpedantic -Werror "$here/outside/outside.c" -o "$out/c" "${flags[@]}" -Wl,-rpath,"$1" &&
    g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror "$here/outside/outside.cpp" -o "$out/cpp" "${flags[@]}" \
      -Wl,-rpath,"$1" &&
    runs_with "$out/c" "$1" && runs_with "$out/cpp" "$1"
}

# configure DIRECTORY WANTED: CMake's configure step alone. DIRECTORY is where find_package is to look.
configure() {
  rm -rf "$work/by-cmake"
  cmake -S "$here/outside" -B "$work/by-cmake" -DCMAKE_PREFIX_PATH="$1" -DWANTED="$2" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF
}

# by_cmake PREFIX LIBDIR
by_cmake() {
  configure "$1" "$major.$minor" && cmake --build "$work/by-cmake" &&
    runs_with "$work/by-cmake/outside_c" "$2" && runs_with "$work/by-cmake/outside_cpp" "$2"
}

# The configure step fails, and because of the version.
cmake_refuses() {
  if configure "$1" "$2" >"$work/refusal" 2>&1; then
    echo "find_package(TaskMet $2) accepted $version"
    return 1
  fi
  cat "$work/refusal"
  grep -F "TaskMetConfig.cmake, version: $version" "$work/refusal"
}

# --- Installing -------------------------------------------------------------------------------------------------------

install_to() { make -C "$root" install BUILT="$built" "$@"; }

# installed PREFIX LIBDIR: exactly these files, of which none names the place of the build or the temporary directory.
installed() {
  local want
  want=$(printf '%s\n' "$1/bin/taskmet" "$1/include/taskmet.h" "$2/libtaskmet.so" "$2/$soname" "$2/libtaskmet.so.$version" \
    "$2/pkgconfig/taskmet.pc" "$2/cmake/TaskMet/TaskMetConfig.cmake" "$2/cmake/TaskMet/TaskMetConfigVersion.cmake" |
    sort)
  diff <(echo "$want") <(find "$1" ! -type d | sort) &&
    ! grep -rlE "$work|@[A-Z_]+@" "$1/include" "$2/pkgconfig" "$2/cmake" &&
    [ "$(readlink "$2/$soname")" = "libtaskmet.so.$version" ] &&
    [ "$(realpath "$2/libtaskmet.so")" = "$(realpath "$2/libtaskmet.so.$version")" ] &&
    ! readelf -S "$2/libtaskmet.so" | grep -F .symtab
}

# cli_works PREFIX: the command line runs by itself, without the library's file and without anything of Swift's.
cli_works() {
  [ "$("$1/bin/taskmet" --version)" = "$version" ] && "$1/bin/taskmet" list >/dev/null &&
    loads_only_allowed "$1/bin/taskmet" && ! readelf -d "$1/bin/taskmet" | grep -E 'SONAME|soname|NODELETE'
}

nothing_left() {
  local left
  left=$(find "$1" ! -type d)
  [ -z "$left" ] || { echo "$left"; return 1; }
}

# usable PREFIX LIBDIR DESCRIPTION
usable() {
  check "$3: has the files it should have" installed "$1" "$2"
  check "$3: C and C++ programs by pkg-config" by_pkg_config "$2"
  check "$3: C and C++ programs by CMake" by_cmake "$1" "$2"
  check "$3: bin/taskmet" cli_works "$1"
}

look_into "$built/libtaskmet.so" "built library"
check "header: compiles alone as C99, C11, C++17" bash "$root/packaging/check-header.sh" "$root/include"

prefix=$work/prefix
check "make install PREFIX=..." install_to PREFIX="$prefix"
usable "$prefix" "$prefix/lib" "PREFIX"
look_into "$prefix/lib/libtaskmet.so" "installed library"

check "find_package without a version" configure "$prefix" ""
check "find_package $version EXACT" configure "$prefix" "$version;EXACT"
check "find_package $major.$minor...$((major + 1))" configure "$prefix" "$major.$minor...$((major + 1))"
refused=(9.0 "$((major + 1)).0" "$major.$minor.999" "$major.$((minor + 1))" "9.0...10.0")
if [ "$major" -eq 0 ] && [ "$minor" -gt 0 ]; then
  refused+=("0.$((minor - 1))")  # before 1.0 every minor version is a new interface
fi
for wanted in "${refused[@]}"; do
  check "find_package refuses $wanted" cmake_refuses "$prefix" "$wanted"
done

mkdir "$work/another place"
mv "$prefix" "$work/another place/moved"
ln -s "$work/another place" "$work/another"
usable "$work/another/moved" "$work/another/moved/lib" "moved prefix"
check "make uninstall" make -C "$root" uninstall PREFIX="$work/another/moved"
check "make uninstall leaves no file" nothing_left "$work/another/moved"

stage=$work/stage
multiarch=/usr/lib/$(gcc -print-multiarch)  # where Debian keeps libraries
check "make install DESTDIR=... PREFIX=/usr LIBDIR=..." \
  install_to DESTDIR="$stage" PREFIX=/usr LIBDIR="$multiarch"
usable "$stage/usr" "$stage$multiarch" "DESTDIR"
check "make uninstall DESTDIR=..." \
  make -C "$root" uninstall DESTDIR="$stage" PREFIX=/usr LIBDIR="$multiarch"
check "make uninstall leaves no file below DESTDIR" nothing_left "$stage"

echo "packaging: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
