# Sourced by bundle.sh and package.sh: what a program needs on a machine where nothing is installed, in
# a folder {bin,lib,share} that portable_env.sh makes work wherever it lies. Needs $TORCH and die().

# Components of Open MPI that stay behind: they bring libraries of network cards along, or serve
# parts of MPI that Kiln does not use (files, OpenSHMEM).
UNUSED='.*(ofi|ucx|openib|psm2?|monitoring|gridengine|jsm|flux)|(io|fs|fbtl|fcoll|sharedfp|spml|scoll|sshmem|memheap|atomic)_.*|topo_treematch'


check_open_mpi() {
  OPEN_MPI=$(dirname "$(ldconfig -p | sed -n 's/.*libmpi\.so\.40 .* => //p' | head -n 1)")/openmpi/lib/openmpi3
  [[ -d $OPEN_MPI ]] || die "the components of Open MPI 4 are not in $OPEN_MPI: packages of Debian 12 or Ubuntu are expected"
}

copy_program() {  # $1: from, $2: to; without debug information and the build machine's paths
  install -m 755 "$1" "$2"
  strip --strip-debug "$2" 2>/dev/null || true
  cat >"$2.cmake" <<CMAKE
file(RPATH_REMOVE FILE "$(realpath "$2")")
CMAKE
  cmake -P "$2.cmake" >/dev/null 2>&1
  rm "$2.cmake"
}

copy_open_mpi() {  # $1: folder
  local plugin name pmix
  mkdir -p "$1"/{bin,lib/openmpi,lib/pmix,share}
  copy_program "$(readlink -f "$(command -v mpirun)")" "$1/bin/mpirun"
  copy_program "$(command -v orted)" "$1/bin/orted"
  for plugin in "$OPEN_MPI"/mca_*.so; do
    name=$(basename "$plugin" .so)
    [[ ${name#mca_} =~ ^($UNUSED)$ ]] || cp "$plugin" "$1/lib/openmpi/"
  done
  pmix=$(dirname "$(readlink -f "$(ldconfig -p | sed -n 's/.*libpmix\.so\.2 .* => //p' | head -n 1)")")
  cp "$pmix"/pmix/pmix_mca_*.so "$1/lib/pmix/" 2>/dev/null || true
  cp -r /usr/share/openmpi "$1/share/" 2>/dev/null || true
  cp -r /usr/share/pmix* "$1/share/" 2>/dev/null || true
}

# All that the programs and components load, but for the C library, LibTorch and what comes with it.
needed_libraries() {
  local nvidia library
  nvidia=$(realpath "$TORCH/../nvidia" 2>/dev/null || echo /nowhere)
  LD_LIBRARY_PATH=$TORCH/lib ldd "$@" 2>/dev/null |
    awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u | while read -r library; do
    case "$(realpath "$library")" in
      "$(realpath "$TORCH")"/* | "$nvidia"/* | */libc.so.6 | */libm.so.6 | */libpthread.so.0) ;;
      */libdl.so.2 | */librt.so.1 | */libutil.so.1 | */libresolv.so.2 | */ld-linux*) ;;
      *libcuda.so* | *libcudart.so* | *libcublas*.so* | *libnccl.so* | *libgomp.so*) ;;
      *) echo "$library" ;;
    esac
  done
}

copy_libraries() {  # $1: folder; then programs
  local folder=$1 library
  shift
  for library in $(needed_libraries "$@" "$folder"/lib/openmpi/*.so "$folder"/lib/pmix/*.so \
    "$(command -v mpirun)" "$(command -v orted)"); do
    cp -L "$library" "$folder/lib/"
  done
  strip --strip-unneeded "$folder"/lib/*.so* 2>/dev/null || true
}
