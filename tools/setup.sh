#!/usr/bin/env bash
# What: everything a target of the Makefile needs, on a fresh Debian 12 machine: system packages (installed when root and missing,
# else named), a virtual environment per Python in build/venv-<version>, and holdfast installed in it, rebuilt when sources changed.
# Usage: tools/setup.sh packages <command-or-package>...    tools/setup.sh venv [pyver]    tools/setup.sh holdfast [pyver]
#   `venv` prints the environment's path on its last line. pyver: 3.11, 3.12, 3.13; without it the best one found.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m%s\033[0m\n' "setup: $*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# what to look for | Debian package
need() {
  case "$1" in
    g++) command -v g++ >/dev/null || echo g++ ;;
    make) command -v make >/dev/null || echo make ;;
    git) command -v git >/dev/null || echo git ;;
    gtest) [ -e /usr/include/gtest/gtest.h ] || echo libgtest-dev
           [ -e /usr/include/gmock/gmock.h ] || echo libgmock-dev ;;
    benchmark) [ -e /usr/include/benchmark/benchmark.h ] || echo libbenchmark-dev ;;
    spin) command -v spin >/dev/null || echo spin ;;
    clang-format) command -v clang-format-14 >/dev/null || echo clang-format-14 ;;
    clang-tidy) command -v clang-tidy-14 >/dev/null || echo clang-tidy-14 ;;
    ccache) command -v ccache >/dev/null || echo ccache ;;
    python) find_python "" >/dev/null || echo python3 python3-venv python3-dev ;;
    python-tests) python_tests ;;
    *) fail "unknown need: $1" ;;
  esac
}

# CPython's own tests of Pool, which tests/stdlib runs: Debian and Ubuntu have them in a package of their own. Nothing for any other Python
# (its tests are there, or there is no package to name), and nothing while there is no Python: it comes first, in a call of its own.
python_tests() {
  local python
  python=$(find_python "${PYVER:-}") || return 0
  case "$python" in
    /usr/bin/python3.*) "$python" -c 'import test._test_multiprocessing' >/dev/null 2>&1 || echo "lib${python#/usr/bin/}-testsuite" ;;
  esac
}

packages() {
  local missing=() one names
  for one in "$@"; do
    names=$(need "$one") || exit 1  # an unknown need has said so
    # shellcheck disable=SC2206  # words are what is wanted
    missing+=($names)
  done
  [ "${#missing[@]}" -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    fail "missing system packages, and this is not root on Debian; please run: sudo apt-get update && sudo apt-get install ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  apt-get update -qq >&2 || say "apt-get update failed; trying with the lists that are there"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
    fail "apt-get could not install: ${missing[*]}"
}

# A Python that can make environments and compile against itself.
usable() {
  "$1" - "${2:-}" >/dev/null 2>&1 <<'PY'
import os, sys, sysconfig
import venv, ensurepip
wanted = sys.argv[1]
assert sys.version_info >= (3, 11), sys.version
assert not wanted or "%d.%d" % sys.version_info[:2] == wanted
assert os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h"))
PY
}

find_python() {
  local wanted=$1 one
  if [ -n "$wanted" ]; then
    local candidates=("python$wanted" "/usr/bin/python$wanted" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$wanted".*/bin/python)
  else
    local candidates=("${PYTHON:-python3}" python3.13 python3.12 python3.11 /usr/bin/python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-3].*/bin/python)
  fi
  for one in "${candidates[@]}"; do
    if usable "$one" "$wanted"; then
      # The interpreter itself and not a pyenv shim, which may choose another one in another folder.
      "$one" -c 'import os, sys; print(os.path.realpath(sys.executable))'
      return 0
    fi
  done
  return 1
}

venv() {
  local python version
  python=$(find_python "${1:-}") || fail "no Python ${1:-3.11 to 3.13} with venv and headers found (Debian: python3 python3-venv python3-dev; or pyenv)"
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  local dir=$PWD/build/venv-$version
  # Made again when the list of tools, the interpreter or the place of this tree has changed (an environment cannot be moved).
  local key
  key="$python $dir $(cat tools/requirements-dev.txt)"
  if [ "$(cat "$dir/holdfast-key" 2>/dev/null)" != "$key" ]; then
    say "environment for Python $version in build/venv-$version"
    rm -rf "$dir"
    "$python" -m venv "$dir"
    "$dir/bin/pip" install -qq --disable-pip-version-check -r tools/requirements-dev.txt >&2 ||
      fail "pip could not install tools/requirements-dev.txt (is PyPI reachable?)"
    printf '%s\n' "$key" >"$dir/holdfast-key"
  fi
  echo "$dir"
}

# Installs holdfast into the environment as a user would get it (no editable install: tests see what is shipped).
holdfast() {
  local dir stamp version
  dir=$(venv "${1:-}")
  stamp=$dir/holdfast-stamp
  version=${dir##*-}
  if [ -e "$stamp" ] && [ -z "$(find src include python cmake CMakeLists.txt pyproject.toml README.md LICENSE -newer "$stamp" -type f -not -name '*.pyc' -print -quit)" ]; then
    echo "$dir"
    return
  fi
  say "building and installing holdfast for Python $version"
  touch "$stamp.new"
  # Not isolated: the same paths each time, so that the build in build/py-<version> is incremental and ccache hits.
  PATH="$dir/bin:$PATH" CMAKE_GENERATOR=Ninja "$dir/bin/pip" install -qq --disable-pip-version-check --no-build-isolation --no-deps \
    --force-reinstall --config-settings=build-dir="build/py-$version" --config-settings=cmake.define.CMAKE_CXX_COMPILER_LAUNCHER="$(command -v ccache || true)" . >&2 ||
    fail "building holdfast for Python $version failed"
  mv "$stamp.new" "$stamp"
  echo "$dir"
}

case "${1:-}" in
  packages) shift; packages "$@" ;;
  venv) packages python; venv "${2:-}" ;;
  find) find_python "${2:-}" ;;
  holdfast) packages g++ python; holdfast "${2:-}" ;;
  *) sed -n '2,6p' "$0"; exit 2 ;;
esac
