#!/bin/sh
# Finds LibTorch @kiln_torch_version@ and runs the program: in KILN_TORCH (the folder that holds
# lib/), in torch/ beside bin/ (a LibTorch, or a Python environment that has one), in the Python that
# is found first, or where it was when Kiln was built.
here=$(dirname "$(readlink -f "$0")")
prefix=$(dirname "$here")
program=$prefix/lib/kiln/kiln

fail() {
  [ "${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-${SLURM_PROCID:-0}}}" = 0 ] && printf 'kiln: error: %s\n' "$@" >&2
  exit 2
}
is_torch() { [ -e "$1/lib/libtorch_cpu.so" ]; }

# Of the places where LibTorch may be, the first that has one.
find_torch() {
  if [ -n "$KILN_TORCH" ]; then
    echo "$KILN_TORCH"
    return
  fi
  for folder in "$prefix"/torch "$prefix"/torch/lib/python3*/site-packages/torch; do
    if is_torch "$folder"; then
      echo "$folder"
      return
    fi
  done
  # Asking for the place does not import it, which would take seconds.
  folder=$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null)
  if [ -n "$folder" ] && is_torch "$folder"; then
    echo "$folder"
    return
  fi
  echo "@KILN_TORCH@"
}

torch=$(find_torch)
is_torch "$torch" || fail "LibTorch @kiln_torch_version@ is not found in '$torch'. Install it, or name it:" \
  "  python3 -m venv $prefix/torch && $prefix/torch/bin/pip install torch==@kiln_torch_version@.*" \
  "  export KILN_TORCH=/path/to/torch     # the folder that holds lib/libtorch_cpu.so"
version=$(sed -n "s/^__version__ = '\([0-9]*\.[0-9]*\).*/\1/p" "$torch/version.py" 2>/dev/null)
[ "${version:-@kiln_torch_version@}" = @kiln_torch_version@ ] ||
  fail "LibTorch in $torch is $version; this program was built for @kiln_torch_version@. Name another by KILN_TORCH."

libraries=$torch/lib
for folder in "$torch"/../nvidia/*/lib; do
  [ -d "$folder" ] && libraries=$libraries:$folder
done
export KILN_TORCH="$torch"
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export KILN_PROGRAM="$here/kiln"  # what starts ranks starts this script
exec "$program" "$@"
