#!/usr/bin/env bash
# Packs what has been built into one folder that runs on another x86-64 machine: programs, the tests
# that want a GPU, Open MPI, HDF5 and the other libraries, recipes, and small datasets. The other
# machine brings a driver and LibTorch 2.11, one for CUDA if this build is; nothing else is installed
# there.
#
#   bash launch/bundle.sh [OUT]      default: build/kiln-bundle; also writes OUT.tar.gz
#
# There: tar xf kiln-bundle.tar.gz; KILN_TORCH=/path/to/torch kiln-bundle/check.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OUT=${1:-build/kiln-bundle}
LIMIT_MIB=60
TESTS=(core_optimizer_optimizer_test dist_communicator_test models_operators_attention_choice_test models_operators_device_matmul_test
  models_device_test models_operators_fused_test)
# Components of Open MPI that stay behind: they bring libraries of network cards along, or serve
# parts of MPI that Kiln does not use (files, OpenSHMEM).
UNUSED='.*(ofi|ucx|openib|psm2?|monitoring|gridengine|jsm|flux)|(io|fs|fbtl|fcoll|sharedfp|spml|scoll|sshmem|memheap|atomic)_.*|topo_treematch'

say() { printf 'bundle: %s\n' "$*"; }
die() {
  printf 'bundle: error: %s\n' "$*" >&2
  exit 1
}

[[ -x build/bin/kiln ]] || die "build/bin/kiln is missing: run bash launch/setup.sh first"
TORCH=$(sed -n 's/^KILN_TORCH:PATH=//p' build/CMakeCache.txt)
for program in bin/parity "${TESTS[@]/#/tests/}"; do
  [[ -x build/$program ]] || die "build/$program is missing: KILN_TARGET=all bash launch/setup.sh"
done
LIBRARIES=$(dirname "$(ldconfig -p | sed -n 's/.*libmpi\.so\.40 .* => //p' | head -n 1)")
PLUGINS=$LIBRARIES/openmpi/lib/openmpi3
[[ -d $PLUGINS ]] || die "Open MPI's components are not in $PLUGINS: Debian's and Ubuntu's packages are expected"

rm -rf "$OUT" "$OUT.tar.gz"
mkdir -p "$OUT"/{bin,lib/openmpi,lib/pmix,tests,share,configs,data}

# --- programs -------------------------------------------------------------------------------------

copy_program() {  # $1: from, $2: to; without debug information and the build machine's paths
  install -m 755 "$1" "$2"
  strip --strip-debug "$2" 2>/dev/null || true
  cat >"$OUT/rpath.cmake" <<CMAKE
file(RPATH_REMOVE FILE "$(realpath "$2")")
CMAKE
  cmake -P "$OUT/rpath.cmake" >/dev/null 2>&1
  rm "$OUT/rpath.cmake"
}
for program in kiln parity; do copy_program "build/bin/$program" "$OUT/bin/$program"; done
for test in "${TESTS[@]}"; do copy_program "build/tests/$test" "$OUT/tests/$test"; done
copy_program "$(readlink -f "$(command -v mpirun)")" "$OUT/bin/mpirun"
copy_program "$(command -v orted)" "$OUT/bin/orted"
for plugin in "$PLUGINS"/mca_*.so; do
  name=$(basename "$plugin" .so)
  [[ ${name#mca_} =~ ^($UNUSED)$ ]] || cp "$plugin" "$OUT/lib/openmpi/"
done
PMIX=$(dirname "$(readlink -f "$(ldconfig -p | sed -n 's/.*libpmix\.so\.2 .* => //p' | head -n 1)")")
cp "$PMIX"/pmix/pmix_mca_*.so "$OUT/lib/pmix/" 2>/dev/null || true
cp -r /usr/share/openmpi "$OUT/share/" 2>/dev/null || true
cp -r /usr/share/pmix* "$OUT/share/" 2>/dev/null || true

# --- libraries ------------------------------------------------------------------------------------

# All that the programs and components load, but for the C library, LibTorch and what comes with it.
needed_libraries() {
  local nvidia
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
for library in $(needed_libraries build/bin/kiln build/tests/"${TESTS[0]}" build/tests/"${TESTS[1]}" \
  "$OUT"/lib/openmpi/*.so "$OUT"/lib/pmix/*.so "$(command -v mpirun)" "$(command -v orted)"); do
  cp -L "$library" "$OUT/lib/"
done
strip --strip-unneeded "$OUT"/lib/*.so* 2>/dev/null || true

# --- recipes, datasets, the check -----------------------------------------------------------------

cp configs/*.toml "$OUT/configs/"
cp launch/bundle_env.sh "$OUT/env.sh"
install -m 755 launch/bundle_check.sh "$OUT/check.sh"
python3 launch/bundle_data.py "$OUT/data/raw"
kiln() { build/bin/kiln "$@" >/dev/null 2>&1 || die "kiln $* failed"; }
kiln data import idx "$OUT"/data/raw/images-224.idx "$OUT"/data/raw/labels.idx --out "$OUT/data/images-224"
kiln data import idx "$OUT"/data/raw/images-32.idx "$OUT"/data/raw/labels.idx --out "$OUT/data/images-32"
kiln tokenizer train "$OUT/data/raw/text.txt" --vocab-size 2000 --out "$OUT/data/vocab.txt"
kiln data import text "$OUT/data/raw/text.txt" --vocab "$OUT/data/vocab.txt" --out "$OUT/data/text"
rm -r "$OUT/data/raw"
git rev-parse --short HEAD >"$OUT/VERSION" 2>/dev/null || echo unknown >"$OUT/VERSION"

tar -C "$(dirname "$OUT")" -czf "$OUT.tar.gz" "$(basename "$OUT")"
size=$(stat -c %s "$OUT.tar.gz")
say "$OUT.tar.gz: $((size / 1048576)) MiB packed, $(du -sm "$OUT" | cut -f1) MiB unpacked"
((size <= LIMIT_MIB * 1048576)) || die "more than $LIMIT_MIB MiB"
