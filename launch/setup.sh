#!/usr/bin/env bash
# Installs what is missing and builds Kiln into build/ (programs in build/bin/).
#
#   bash launch/setup.sh              on Debian 12 or Ubuntu 22.04 / 24.04, as root or with sudo
#
# KILN_TORCH=/path/to/torch   uses that LibTorch (the folder with include/ and lib/) and downloads none
# KILN_CUDA=OFF               builds for CPUs even where nvcc is found
# KILN_CXX=g++                uses that compiler (default: clang++)
# KILN_WERROR=ON              takes warnings for errors, in builds that follow too, until OFF
# KILN_EXTRA_PACKAGES=...     installs these as well
# KILN_SANITIZERS=ON          installs what the sanitizers need as well
# KILN_JOBS=N                 compiles N files at a time
#
# Steps that are done already are skipped, so running it again costs a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEPS=.deps
PACKAGES=(
  clang g++ cmake ninja-build pkg-config git ca-certificates python3 python3-venv
  libopenmpi-dev openmpi-bin libhdf5-dev libspdlog-dev libfmt-dev libgtest-dev libgmock-dev
  libjpeg-dev libpng-dev libwebp-dev libtiff-dev libarchive-dev zlib1g-dev libicu-dev
  nlohmann-json3-dev libcli11-dev libtomlplusplus-dev libxxhash-dev
)
OPTIONAL_PACKAGES=(ccache mold)  # a quicker build where the distribution has them

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: error: %s\n' "$1" >&2
  shift
  printf '       %s\n' "$@" >&2
  exit 1
}

# --- 1. packages of the distribution ------------------------------------------------------------

is_installed() { [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }
is_available() { [[ -n "$(apt-cache madison "$1" 2>/dev/null)" ]]; }

as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=600 "$@" >"$DEPS/apt.log" 2>&1
}

install_packages() {
  local missing=() name
  for name in "${PACKAGES[@]}"; do is_installed "$name" || missing+=("$name"); done
  if [[ ${#missing[@]} -eq 0 ]]; then
    say "packages: all there"
    return
  fi
  command -v apt-get >/dev/null || die "this system has no apt-get" \
    "Kiln's set-up knows Debian 12 and Ubuntu 22.04 / 24.04. Elsewhere install the equivalents of" \
    "${PACKAGES[*]}" "and run cmake yourself (CONTRIBUTING.md)."
  [[ $EUID -eq 0 ]] || command -v sudo >/dev/null || die "neither root nor sudo" \
    "Ask an administrator to run: apt-get install ${missing[*]}"
  say "packages: installing ${#missing[@]} (${missing[*]})"
  as_root apt-get update -qq -o DPkg::Lock::Timeout=600 >"$DEPS/apt.log" 2>&1 ||
    die "apt-get update failed: $(tail -n 1 "$DEPS/apt.log")" "Is the network there? Log: $DEPS/apt.log"
  for name in "${OPTIONAL_PACKAGES[@]}"; do
    if ! is_installed "$name" && is_available "$name"; then missing+=("$name"); fi
  done
  apt_install "${missing[@]}" ||
    die "apt-get install failed: $(tail -n 1 "$DEPS/apt.log")" "Log: $DEPS/apt.log"
}

# Programs that single tests want and skip without.
install_extra_packages() {
  local missing=() name
  for name in ${KILN_EXTRA_PACKAGES:-}; do is_installed "$name" || missing+=("$name"); done
  [[ ${#missing[@]} -eq 0 ]] && return
  say "packages: installing ${missing[*]}"
  apt_install "${missing[@]}" || die "apt-get install ${missing[*]} failed: $(tail -n 1 "$DEPS/apt.log")" \
    "Log: $DEPS/apt.log"
}

# What clang links into programs with sanitizers; tests/run.sh --full asks for it.
install_sanitizers() {
  [[ "${KILN_SANITIZERS:-OFF}" == ON && "$(compiler)" == *clang* ]] || return 0
  local package
  package="libclang-rt-$("$(compiler)" -dumpversion | cut -d. -f1)-dev"
  is_installed "$package" && return
  say "packages: installing $package"
  apt_install "$package" || die "apt-get install $package failed: $(tail -n 1 "$DEPS/apt.log")" \
    "Log: $DEPS/apt.log"
}

# --- 2. LibTorch --------------------------------------------------------------------------------

find_nvcc() {
  [[ "${KILN_CUDA:-ON}" != OFF ]] && { command -v nvcc || ls /usr/local/cuda/bin/nvcc; } 2>/dev/null
}

find_torch() {
  if [[ -n "${KILN_TORCH:-}" ]]; then
    [[ -e "$KILN_TORCH/include/ATen/ATen.h" && -e "$KILN_TORCH/lib/libtorch_cpu.so" ]] ||
      die "KILN_TORCH=$KILN_TORCH holds no LibTorch" \
        "It must be the folder with include/ATen/ATen.h and lib/libtorch_cpu.so: an unpacked libtorch" \
        "archive, or site-packages/torch of a Python installation. Unset it to have one downloaded."
    say "LibTorch: $KILN_TORCH"
    return
  fi
  bash launch/install_torch.sh "$PWD/$DEPS/torch" "$([[ -n "$(find_nvcc)" ]] && echo all || echo cpu)" || exit 1
  KILN_TORCH=$(echo "$PWD/$DEPS"/torch/lib/python3*/site-packages/torch)
}

# --- 3. build -----------------------------------------------------------------------------------

# A compiler that sees <torch/torch.h> takes up to 2.5 GB.
compile_jobs() {
  local cores memory_gb
  cores=$(nproc)
  memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
  local jobs=$((memory_gb * 2 / 5))
  ((jobs < 1)) && jobs=1
  echo "${KILN_JOBS:-$((jobs < cores ? jobs : cores))}"
}

# clang compiles a file that sees LibTorch three times as fast as g++; nvcc wants g++ beside it.
compiler() { echo "${KILN_CXX:-clang++}"; }

build() {
  say "configuring build/ for $(compiler)"
  cmake --preset release -DCMAKE_CXX_COMPILER="$(compiler)" -DKILN_TORCH="$KILN_TORCH" \
    -DKILN_CUDA="${KILN_CUDA:-ON}" ${KILN_WERROR:+-DKILN_WERROR="$KILN_WERROR"} \
    >"$DEPS/configure.log" 2>&1 || die "cmake failed:" \
    "$(grep -A4 'CMake Error' "$DEPS/configure.log" | head -n 8)" "Log: $DEPS/configure.log"
  grep '^-- Kiln:' "$DEPS/configure.log" | sed 's/^-- Kiln:/setup: configured:/'
  say "building ${KILN_TARGET:-kiln} with $(compile_jobs) jobs (a few minutes the first time)"
  cmake --build build -j "$(compile_jobs)" --target "${KILN_TARGET:-kiln}" ||
    die "the build failed; the first error is above" "To see it again: cmake --build build -j 1"
}

mkdir -p "$DEPS"
install_packages
install_extra_packages
install_sanitizers
find_torch
build
say "done: build/bin/kiln"
