# Sourced (POSIX sh) by env.sh of a bundle and bin/ of a portable package: makes what portable.sh put
# into the folder KILN_BUNDLE runnable wherever it lies, with the LibTorch in KILN_TORCH.
LD_LIBRARY_PATH=$KILN_BUNDLE/lib:$KILN_TORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
for folder in "$KILN_TORCH"/../nvidia/*/lib; do
  [ -d "$folder" ] && LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$folder
done
export KILN_BUNDLE LD_LIBRARY_PATH
export PATH="$KILN_BUNDLE/bin:$PATH"
# Open MPI asks these for what its build wrote down as absolute paths.
export OPAL_PREFIX="$KILN_BUNDLE" OPAL_LIBDIR="$KILN_BUNDLE/lib" OPAL_PKGLIBDIR="$KILN_BUNDLE/lib/openmpi"
export OPAL_BINDIR="$KILN_BUNDLE/bin" OPAL_DATADIR="$KILN_BUNDLE/share"
export OPAL_PKGDATADIR="$KILN_BUNDLE/share/openmpi" OPAL_SYSCONFDIR="$KILN_BUNDLE/etc"
export OMPI_MCA_mca_base_component_path="$KILN_BUNDLE/lib/openmpi"
export PMIX_INSTALL_PREFIX="$KILN_BUNDLE" PMIX_MCA_mca_base_component_path="$KILN_BUNDLE/lib/pmix"
export PMIX_MCA_pcompress_base_silence_warning=1
# It also looks where its build's packages put components, and an Open MPI installed there has others.
export PMIX_MCA_mca_base_component_show_load_errors=0
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_rmaps_base_oversubscribe=1
# Open MPI wants a way to other machines even where none is used.
command -v ssh >/dev/null || export OMPI_MCA_plm_rsh_agent=sh
