#!/usr/bin/env bash
# Packs the build for machines without a compiler, into build/package/:
#   kiln_VERSION_ARCH.deb    the program on the libraries of this distribution
#   kiln-VERSION-ARCH.tar.gz the program with these libraries and Open MPI, for any folder of another
#                            Linux whose C library is not older
# LibTorch is in neither: lib/kiln/install_torch.sh puts it beside the program, or KILN_TORCH names one.
#
#   bash launch/package.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUT=build/package

say() { printf 'package: %s\n' "$*"; }
die() {
  printf 'package: error: %s\n' "$*" >&2
  exit 1
}
KILN_EXTRA_PACKAGES=dpkg-dev bash launch/setup.sh
TORCH=$(sed -n 's/^KILN_TORCH:PATH=//p' build/CMakeCache.txt)
rm -rf "$OUT"
mkdir -p "$OUT/work/debian"

# --- .deb -----------------------------------------------------------------------------------------

# "libc6 (>= 2.36), libhdf5-103-1, ...": asked of the distribution's own tool, which looks up the
# packages of all libraries but LibTorch's.
touch "$OUT/work/debian/control"
depends=$(cd "$OUT/work" && LD_LIBRARY_PATH=$TORCH/lib dpkg-shlibdeps --ignore-missing-info -O -l"$TORCH/lib" \
  ../../bin/kiln 2>shlibdeps.log | sed -n 's/^shlibs:Depends=//p') || die "$(tail -n 3 "$OUT/work/shlibdeps.log")"
[[ $depends == *libhdf5* && $depends == *libopenmpi* ]] || die "these depend on too little: $depends"
cmake build -DKILN_DEB_DEPENDS="$depends, openmpi-bin" >/dev/null
cpack --config build/CPackConfig.cmake -B "$OUT/work" >"$OUT/work/cpack.log" || die "$(tail -n 3 "$OUT/work/cpack.log")"
mv "$OUT"/work/*.deb "$OUT/"
say "$(du -h "$OUT"/*.deb | tr '\t' ' '), on: $depends, openmpi-bin"

# --- .tar.gz --------------------------------------------------------------------------------------

source launch/portable.sh
check_open_mpi
version=$(sed -n 's/^project(kiln VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
name=kiln-$version-$(uname -m)
tree=$OUT/work/$name
cmake --install build --prefix "$PWD/$tree" --component programs >/dev/null
mkdir "$tree/lib/kiln/portable"
copy_program build/bin/kiln "$tree/lib/kiln/kiln"
copy_open_mpi "$tree/lib/kiln/portable"
copy_libraries "$tree/lib/kiln/portable" build/bin/kiln
cp launch/portable_env.sh "$tree/lib/kiln/"
cp "$tree/bin/kiln" "$tree/bin/mpirun"
tar -C "$OUT/work" -czf "$OUT/$name.tar.gz" "$name"
say "$(du -h "$OUT/$name.tar.gz" | tr '\t' ' ')"
rm -r "$OUT/work"
