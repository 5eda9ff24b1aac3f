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
export KILN_BUNDLE KILN_TORCH
LD_LIBRARY_PATH=$KILN_BUNDLE/lib:$KILN_TORCH/lib
for folder in "$KILN_TORCH"/../nvidia/*/lib; do
  [[ -d "$folder" ]] && LD_LIBRARY_PATH+=:$folder
done
export LD_LIBRARY_PATH
export PATH=$KILN_BUNDLE/bin:$PATH
# Open MPI asks these for what its build wrote down as absolute paths.
export OPAL_PREFIX=$KILN_BUNDLE OPAL_LIBDIR=$KILN_BUNDLE/lib OPAL_PKGLIBDIR=$KILN_BUNDLE/lib/openmpi
export OPAL_BINDIR=$KILN_BUNDLE/bin OPAL_DATADIR=$KILN_BUNDLE/share
export OPAL_PKGDATADIR=$KILN_BUNDLE/share/openmpi OPAL_SYSCONFDIR=$KILN_BUNDLE/etc
export OMPI_MCA_mca_base_component_path=$KILN_BUNDLE/lib/openmpi
export PMIX_INSTALL_PREFIX=$KILN_BUNDLE PMIX_MCA_mca_base_component_path=$KILN_BUNDLE/lib/pmix
export PMIX_MCA_pcompress_base_silence_warning=1
# It also looks where its build's packages put components, and an Open MPI installed there has others.
export PMIX_MCA_mca_base_component_show_load_errors=0
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_smsc=^cma OMPI_MCA_rmaps_base_oversubscribe=1
# Open MPI wants a way to other machines even where none is used.
command -v ssh >/dev/null || export OMPI_MCA_plm_rsh_agent=sh
