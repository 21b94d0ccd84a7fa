#!/usr/bin/env bash
# Finds out what this machine lacks to build TaskMet ("build") or to build and test it ("test"). Missing Debian packages
# are installed when run as root; otherwise the command that installs them is printed, and the check fails.
# Everything is found by trying it, not by asking dpkg: a library or a tool from elsewhere is as good.
set -uo pipefail

scope=${1:-build}
case $scope in build | test) ;; *) echo "usage: $0 build|test" >&2; exit 2 ;; esac

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

# Compiles and links a program that includes the header $1 with the linker flags that follow.
links() {
  printf '#include <%s>\nint main(void) { return 0; }\n' "$1" |
    "${CC:-cc}" -x c - "${@:2}" -o "$scratch/probe"
}

have() { command -v "$1"; }

# missing PACKAGES COMMAND...: adds the packages when the command fails.
missing() {
  local packages=$1
  shift
  "$@" >/dev/null 2>&1 || packages_missing+=" $packages"
}

look() {
  packages_missing=
  missing "gcc libc6-dev" links stdio.h
  missing g++ have g++  # brings the libstdc++ that the Swift runtime links
  missing libopenblas-dev links cblas.h -lopenblas
  missing liblapacke-dev links lapacke.h -llapacke
  if [ "$scope" = test ]; then
    missing pkg-config have pkg-config
    missing cmake have cmake
    missing abigail-tools have abidiff
    missing "valgrind libc6-dbg" valgrind --quiet true  # valgrind does not start without the symbols of libc
    missing python3-venv python3 -c 'import venv, ensurepip'
  fi
}

check_swift() {
  local version where="Swift 6.3 or later is needed: https://www.swift.org/install/linux/"
  version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
  if [ -z "$version" ]; then
    echo "There is no 'swift' on the PATH. $where" >&2
    return 1
  elif [ "$(printf '6.3\n%s\n' "$version" | sort -V | head -n 1)" != 6.3 ]; then
    echo "This is Swift $version. $where" >&2
    return 1
  fi
}

check_packages() {
  look
  [ -n "$packages_missing" ] || return 0
  if [ "$(id -u)" -ne 0 ] || ! have apt-get >/dev/null; then
    echo "Missing system packages. On Debian and Ubuntu this installs them:" >&2
    echo "    sudo apt-get install -y$packages_missing" >&2
    return 1
  fi
  echo "Installing system packages:$packages_missing"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || echo "apt-get update failed: trying with the package lists that are here" >&2
  # shellcheck disable=SC2086  # a list of words
  apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $packages_missing </dev/null || return 1
  hash -r
  look
  if [ -n "$packages_missing" ]; then
    echo "Installed, yet still not usable:$packages_missing" >&2
    return 1
  fi
}

failed=0
check_packages || failed=1
check_swift || failed=1
exit $failed
