#!/bin/sh
# Finds LibTorch @kiln_torch_version@ and runs the program: in KILN_TORCH (the folder that holds
# lib/), in lib/kiln/torch (a LibTorch, or a Python environment that has one), in the Python that is
# found first, or where it was when Kiln was built.
here=$(dirname "$(readlink -f "$0")")
own=$(dirname "$here")/lib/kiln

is_torch() { [ -e "$1/lib/libtorch_cpu.so" ]; }

find_torch() {
  if [ -n "$KILN_TORCH" ]; then
    echo "$KILN_TORCH"
    return
  fi
  for folder in "$own"/torch "$own"/torch/lib/python3*/site-packages/torch; do
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
# A portable package brings its libraries and Open MPI along.
if [ -d "$own/portable" ]; then
  KILN_TORCH=$torch KILN_BUNDLE=$own/portable
  . "$own/portable_env.sh"
fi
libraries=$torch/lib
for folder in "$torch"/../nvidia/*/lib; do
  [ -d "$folder" ] && libraries=$libraries:$folder
done
LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

# What keeps the program from starting, a line each. It looks for everything else itself.
problems() {
  if ! is_torch "$torch"; then
    echo "LibTorch @kiln_torch_version@ is not found${torch:+ in $torch}. 'bash $own/install_torch.sh' puts it into $own/torch; or set KILN_TORCH to the folder that holds lib/libtorch_cpu.so"
  fi
  version=$(sed -n "s/^__version__ = '\([0-9]*\.[0-9]*\).*/\1/p" "$torch/version.py" 2>/dev/null)
  [ "${version:-@kiln_torch_version@}" = @kiln_torch_version@ ] ||
    echo "LibTorch in $torch is $version, this program was built for @kiln_torch_version@: name another with KILN_TORCH"
  [ "$1" = doctor ] || return
  ldd "$own/kiln" 2>/dev/null | grep -v -e libtorch -e libc10 -e libcu -e libnccl | sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/the library \1 is not found: install the package that has it/p'
  command -v mpirun >/dev/null || echo "there is no mpirun: several ranks need it (openmpi-bin)"
}

export KILN_TORCH="$torch" LD_LIBRARY_PATH
export KILN_PROGRAM="$here/kiln"  # what starts ranks starts this script
found=$(problems "$1")
if [ -n "$found" ]; then
  [ "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-${SLURM_PROCID:-0}}}" != 0 ] || printf 'kiln: error: %s\n' "$found" >&2
  exit 2
fi
case $(basename "$0") in
  mpirun) exec mpirun "$@" ;;  # the one that came along
  *) exec "$own/kiln" "$@" ;;
esac
