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
source launch/portable.sh

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
check_open_mpi

rm -rf "$OUT" "$OUT.tar.gz"
mkdir -p "$OUT"/{bin,lib,tests,configs,data}

# --- programs and libraries -----------------------------------------------------------------------

for program in kiln parity; do copy_program "build/bin/$program" "$OUT/bin/$program"; done
for test in "${TESTS[@]}"; do copy_program "build/tests/$test" "$OUT/tests/$test"; done
copy_open_mpi "$OUT"
copy_libraries "$OUT" build/bin/kiln build/tests/"${TESTS[0]}" build/tests/"${TESTS[1]}"

# --- recipes, datasets, the check -----------------------------------------------------------------

cp configs/*.toml "$OUT/configs/"
cp launch/bundle_env.sh "$OUT/env.sh"
cp launch/portable_env.sh "$OUT/"
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
