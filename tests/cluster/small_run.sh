# Sourced by the cluster tests: a folder of their own, a dataset, a recipe and the hash of the
# undisturbed run. Needs $kiln. Sets $work, $recipe and $expected (of $steps steps).
work=$(mktemp -d "${TMPDIR:-/tmp}/kiln_cluster_XXXXXX")
skip() {
  echo "skipped: $*"
  exit 77
}
fail() {
  echo "failed: $*"
  exit 1
}
hash_in() { sed -n 's/.*"weights_hash":"\([0-9a-f]*\)".*/\1/p' "$1" | tail -n 1; }
last_step() { sed -n 's/^{"step":\([0-9]*\),.*/\1/p' "$1/metrics.jsonl" 2>/dev/null | tail -n 1; }
wait_for_step() {  # run folder, step, seconds
  local end=$((SECONDS + $3)) step
  while step=$(last_step "$1"); [[ ${step:-0} -lt $2 ]]; do
    [[ $SECONDS -lt $end ]] || fail "no step $2 in $1 within $3 s"
    sleep 0.1
  done
}

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
python3 "$(dirname "${BASH_SOURCE[0]}")/../support/write_pictures.py" "$work" || fail "no pictures"
"$kiln" data import idx "$work/train-images-idx3-ubyte" "$work/train-labels-idx1-ubyte" \
  --out "$work/dataset" >/dev/null 2>&1 || fail "the dataset cannot be made"
recipe=$work/recipe.toml
cat >"$recipe" <<TOML
[run]
name = "cluster"
threads = 1
reproducible = true
[data]
path = "$work/dataset"
size = 16
[model]
name = "mae"
preset = "tiny"
patch = 4
dim = 32
depth = 2
heads = 2
decoder_dim = 16
decoder_depth = 1
decoder_heads = 2
[train]
steps = $steps
global_batch = 32
micro_batch = 4
[optimizer]
lr = 1e-3
[parallel]
timeout_s = 5
[checkpoint]
every = 20
[log]
every = 1
TOML
"$kiln" train "$recipe" run.dir="$work/undisturbed" --json >"$work/undisturbed.json" 2>/dev/null ||
  fail "the undisturbed run"
expected=$(hash_in "$work/undisturbed.json")
[[ -n $expected ]] || fail "the undisturbed run has no hash"
