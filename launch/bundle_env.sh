# Sourced by check.sh, or by hand (. kiln-bundle/env.sh): makes the programs of this folder runnable
# from wherever it lies. LibTorch 2.11 is taken from KILN_TORCH (the folder that holds lib/), or from
# the Python that is found first, or from the usual places.
KILN_BUNDLE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

kiln_find_torch() {
  local candidate
  if [[ -n "${KILN_TORCH:-}" ]]; then
    echo "$KILN_TORCH"
    return
  fi
  # Asking for the place does not import it: that would take seconds.
  candidate=$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null)
  if [[ -n "$candidate" ]]; then
    echo "$candidate"
    return
  fi
  for candidate in /usr/lib/python3/dist-packages/torch /usr/local/lib/python3*/*-packages/torch \
    /opt/*/lib/python3*/site-packages/torch /opt/libtorch /usr/local/libtorch; do
    if [[ -e "$candidate/lib/libtorch_cpu.so" ]]; then
      echo "$candidate"
      return
    fi
  done
}

KILN_TORCH=$(kiln_find_torch)
if [[ ! -e "$KILN_TORCH/lib/libtorch_cpu.so" ]]; then
  echo "kiln: LibTorch was not found; set KILN_TORCH to the folder that holds lib/libtorch_cpu.so" >&2
  return 1 2>/dev/null || exit 1
fi
export KILN_TORCH
. "$KILN_BUNDLE/portable_env.sh"
