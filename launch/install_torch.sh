#!/usr/bin/env bash
# Puts LibTorch into a Python environment of its own, from PyPI. Needs python3 and python3-venv.
#
#   bash install_torch.sh [FOLDER] [cpu|all]
#
# FOLDER: default torch/ beside this script. all: with the CUDA libraries; default where the program
# beside this script was built with CUDA. What is there already stays.
set -euo pipefail
TORCH_VERSION=2.11.0
HERE=$(dirname "$(readlink -f "$0")")
FOLDER=${1:-$HERE/torch}
FLAVOUR=${2:-$(grep -qs libtorch_cuda.so "$HERE/kiln" && echo all || echo cpu)}

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: error: %s\n' "$1" >&2
  shift
  printf '       %s\n' "$@" >&2
  exit 1
}

# The wheel names every CUDA library it may ever load. libtorch_cpu needs two of them (a few MB);
# the other gigabytes are for machines that will build the CUDA kernels.
cuda_requirements() {  # $1: all | cpu
  "$FOLDER/bin/python" - "$1" <<'PYTHON'
import importlib.metadata, re, sys
for requirement in importlib.metadata.requires("torch"):
    name = requirement.split(";")[0].strip()
    if name.startswith("cuda-toolkit"):
        print(name if sys.argv[1] == "all" else re.sub(r"\[.*\]", "[cudart,cupti]", name))
    elif name.startswith("nvidia-") and sys.argv[1] == "all":
        print(name)
PYTHON
}

install_torch() {
  local stamp="$FOLDER/complete-$TORCH_VERSION-$FLAVOUR"
  local pip=("$FOLDER/bin/python" -m pip install --disable-pip-version-check --no-cache-dir)
  if [[ -e "$stamp" || -e "$FOLDER/complete-$TORCH_VERSION-all" ]]; then
    say "LibTorch: $TORCH_VERSION is there"
    return
  fi
  local free_gb=$(($(df --output=avail -k "$FOLDER" | tail -n 1) / 1048576))
  local needed_gb=4
  [[ $FLAVOUR == all ]] && needed_gb=9
  ((free_gb >= needed_gb)) || die "LibTorch needs $needed_gb GB, $FOLDER has $free_gb GB free" \
    "Free some space, or name an existing LibTorch with KILN_TORCH=/path/to/torch."
  if [[ ! -d "$FOLDER/lib/python3"*/site-packages/torch-$TORCH_VERSION.dist-info ]]; then
    say "LibTorch: downloading $TORCH_VERSION into $FOLDER (about 0.5 GB)"
    python3 -m venv "$FOLDER" || die "python3 -m venv failed" "Is python3-venv installed?"
    "${pip[@]}" --no-deps "torch==$TORCH_VERSION" || die "torch==$TORCH_VERSION could not be installed" \
      "Is the network there? Or name an existing LibTorch with KILN_TORCH=/path/to/torch."
  fi
  local requirements
  mapfile -t requirements < <(cuda_requirements "$FLAVOUR")
  say "LibTorch: downloading the CUDA libraries it loads ($FLAVOUR)"
  # pip would complain of torch's Python requirements, which no C++ program needs.
  "${pip[@]}" "${requirements[@]}" 2>"$FOLDER/pip.log" || die "${requirements[*]} could not be installed:" \
    "$(tail -n 1 "$FOLDER/pip.log")" \
    "Is the network there? Or name an existing LibTorch with KILN_TORCH=/path/to/torch."
  touch "$stamp"
}

mkdir -p "$FOLDER"
install_torch
