#!/usr/bin/env bash
# Installs the build, moves it, and builds and runs docs/examples/own_model against it.
#
#   tests/package/own_model.sh build
set -uo pipefail
build=$(readlink -f "$1")
source_folder=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/kiln_package_XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() {
  echo "failed: $*"
  exit 1
}
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
hash_in() { sed -n 's/.*"weights_hash":"\([0-9a-f]*\)".*/\1/p' "$1" | tail -n 1; }
ranks() { mpirun --oversubscribe --bind-to none -np "$@"; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

echo "== install, and move"
cmake --install "$build" --prefix "$work/first" >"$work/install.log" || fail "cmake --install: $(tail -n 5 "$work/install.log")"
mv "$work/first" "$work/kiln"
! grep -rIl -e "$build" -e "$source_folder/core" "$work/kiln/lib/cmake" "$work/kiln/include" || fail "these name the build's folders"

echo "== build the example"
cmake -S "$source_folder/docs/examples/own_model" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/kiln" \
  -DCMAKE_CXX_COMPILER="$(cached CMAKE_CXX_COMPILER)" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; fail "cmake"; }
! grep -oE -e '-(march|W[a-z]|include|ffp-contract)[^ "]*' "$work/build/compile_commands.json" ||
  fail "these flags of Kiln's came along"
cmake --build "$work/build" >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; fail "cmake --build"; }

echo "== train on two ranks with ZeRO-1: stop, resume, end as one rank does"
python3 "$source_folder/tests/support/write_pictures.py" "$work" || fail "no pictures"
"$work/kiln/bin/kiln" data import idx "$work/train-images-idx3-ubyte" "$work/train-labels-idx1-ubyte" \
  --out "$work/dataset" >/dev/null 2>&1 || fail "the dataset cannot be made"
own_model() {  # number of ranks, run folder, overrides
  local number=$1 run=$2
  shift 2
  ranks "$number" "$work/build/own_model" train "$source_folder/docs/examples/own_model/recipe.toml" \
    data.path="$work/dataset" run.threads=1 run.dir="$work/$run" "$@" --json >"$work/$run.out" 2>"$work/$run.err" ||
    { cat "$work/$run.err"; fail "own_model"; }
}
own_model 1 alone
own_model 2 resumed train.stop_after=30
own_model 2 resumed
grep -q "going on from" "$work/resumed.err" || fail "it began anew"
expected=$(hash_in "$work/alone.out")
[[ -n $expected && $(hash_in "$work/resumed.out") == "$expected" ]] || fail "it ended in other bits"
"$work/build/own_model" checkpoint verify "$work/resumed" >/dev/null || fail "its checkpoints are not valid"
accuracy=$(sed -n 's/.*"accuracy":\([0-9.e-]*\).*/\1/p' "$work/resumed/metrics.jsonl" | tail -n 1)
awk -v a="${accuracy:-0}" 'BEGIN { exit !(a > 0.5) }' || fail "accuracy '$accuracy', a quarter is chance"
echo "accuracy $accuracy, weights $expected"

echo "== a loop of one's own"
for number in 1 2; do
  ranks $number "$work/build/own_loop" >"$work/loop.$number" || fail "own_loop on $number ranks"
done
cat "$work/loop.2"
diff <(grep -v ^step "$work/loop.1") <(grep -v ^step "$work/loop.2") || fail "one rank and two end in other bits"
awk '/^step/ { if (!first) first = $4; last = $4 } END { exit !(last < first / 2) }' "$work/loop.2" || fail "the loss does not fall"

echo "== the program that was installed does not know the model"
"$work/kiln/bin/kiln" train "$source_folder/docs/examples/own_model/recipe.toml" >"$work/unknown" 2>&1
[[ $? -eq 2 ]] && grep -q "model.name 'own_model' is unknown" "$work/unknown" || { cat "$work/unknown"; fail "it should say so"; }
