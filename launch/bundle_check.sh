#!/usr/bin/env bash
# Tests and measures Kiln on this machine from the folder it lies in; nothing is installed. With a
# GPU: the tests that want one, then benchmarks there. Without: the same programs on the CPU, so that
# what can run is seen to run. Under 8 minutes.
#
#   KILN_TORCH=/path/to/torch ./check.sh [OUT]     default: ./results
#   KILN_PARITY="FOLDER..."                        stored computations to hold the models against (parity)
#   KILN_PEERS=/path/to/programs                   PyTorch programs to time beside ours (mae.py, ...)
#
# Writes OUT/results.json and OUT/results.txt; logs beside them. Exit status 1 if a test failed.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OUT=${1:-$HERE/results}
mkdir -p "$OUT"
. "$HERE/env.sh" || exit 1

DEADLINE=$((SECONDS + ${KILN_CHECK_SECONDS:-480}))
DEVICE=cpu
GPU=none
if command -v nvidia-smi >/dev/null && nvidia-smi -L >"$OUT/gpus.txt" 2>/dev/null && [[ -s "$OUT/gpus.txt" ]]; then
  DEVICE=cuda
  read -r GPU <"$OUT/gpus.txt"
fi
TESTS_JSON="" BENCH_JSON="" FAILED=0
: >"$OUT/results.txt"
say() { printf '%s\n' "$*" | tee -a "$OUT/results.txt"; }

# Runs words with a limit of $1 seconds, or what is left of the time; output in OUT/$2.log.
run() {
  local limit=$1 name=$2 left=$((DEADLINE - SECONDS))
  shift 2
  ((left < limit)) && limit=$left
  ((limit < 5)) && return 99
  timeout -k 5 "$limit" "$@" >"$OUT/$name.log" 2>&1
}

test_program() {  # $1: name, then the command
  local name=$1 start=$SECONDS status outcome
  shift
  run 180 "$name" "$@"
  status=$?
  case $status in
    0) outcome=passed ;;
    99) outcome="not run: out of time" ;;
    124 | 137) outcome="failed: out of time" ;;
    *) outcome="failed: exit status $status" ;;
  esac
  [[ $outcome == failed* ]] && FAILED=1
  grep -A1 ': Skipped$' "$OUT/$name.log" 2>/dev/null | grep -v -e ': Skipped$' -e '^--' | sort -u |
    sed 's/^/    skipped: /' | head -n 3 | tee -a "$OUT/results.txt"
  say "$(printf '%-34s %s (%d s)' "$name" "$outcome" $((SECONDS - start)))"
  [[ $outcome == failed* ]] && tail -n 15 "$OUT/$name.log"
  TESTS_JSON+="${TESTS_JSON:+, }\"$name\": \"$outcome\""
}

bench() {  # $1: name, then the words after kiln bench
  local name=$1 line
  shift
  run 90 "$name" "$HERE/bin/kiln" bench "$@" --json
  local status=$?
  if [[ $status -eq 99 || $status -eq 124 ]]; then
    say "$(printf '%-34s not done: out of time' "$name")"
    return
  fi
  line=$(tail -n 1 "$OUT/$name.log")
  if [[ $status -ne 0 || $line != \{* ]]; then
    say "$(printf '%-34s failed: exit status %d: %s' "$name" "$status" "$line")"
    BENCH_JSON+="${BENCH_JSON:+, }\"$name\": null"
    return
  fi
  local rate="" figure
  if [[ $line == *'"samples_per_s":{'* ]]; then
    figure=${line#*'"samples_per_s":{'}
    figure=${figure#*'"median":'}
    rate="${figure%%,*} samples/s"
  else
    rate="$(grep -c . "$OUT/$name.log") lines in $name.log"
  fi
  say "$(printf '%-34s %s' "$name" "$rate")"
  BENCH_JSON+="${BENCH_JSON:+, }\"$name\": $line"
}

peer() {  # $1: name, $2: mode, then the program's words; needs a Python that has torch
  local name=peer-$1-${2// /-} line
  [[ -n "${KILN_PEERS:-}" ]] || return 0
  local mode=$2
  shift 2
  # shellcheck disable=SC2086
  run 120 "$name" env -u LD_LIBRARY_PATH python3 "$KILN_PEERS/$1" "${@:2}" --mode $mode --device "$DEVICE"
  line=$(tail -n 1 "$OUT/$name.log")
  [[ $line == \{* ]] || line=null
  say "$(printf '%-34s %s' "$name" "$(sed -n 's/.*"samples_per_s": \([0-9.]*\).*/\1 samples\/s/p' <<<"$line")")"
  BENCH_JSON+="${BENCH_JSON:+, }\"$name\": $line"
}

say "kiln $(cat "$HERE/VERSION"), device $DEVICE, GPU: $GPU"
say "processor: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc 2>/dev/null) cores; LibTorch $KILN_TORCH"

say "--- tests"
test_program starts "$HERE/bin/kiln" --help
test_program verify-data "$HERE/bin/kiln" data verify "$HERE/data/images-224"
test_program core_optimizer "$HERE/tests/core_optimizer_optimizer_test"
test_program models_attention_choice "$HERE/tests/models_operators_attention_choice_test"
test_program models_device_matmul "$HERE/tests/models_operators_device_matmul_test"
test_program models_fused "$HERE/tests/models_operators_fused_test"
test_program models_device "$HERE/tests/models_device_test"
if [[ -n "${KILN_PARITY:-}" ]]; then
  # shellcheck disable=SC2086
  test_program parity "$HERE/bin/parity" --device "$DEVICE" $KILN_PARITY
fi
test_program communicator-1-rank "$HERE/tests/dist_communicator_test"
test_program communicator-2-ranks mpirun -np 2 --bind-to none "$HERE/tests/dist_communicator_test"
TINY=("$HERE/configs/mae_tiny_fashion.toml" "data.path=$HERE/data/images-32" data.size=32 model.patch=4
  train.global_batch=32 train.micro_batch=8 run.threads=1 checkpoint.every=5 eval.every=0 eval.path=
  "run.device=$DEVICE" train.epochs=10)
rm -rf "$OUT"/run*
test_program train "$HERE/bin/kiln" train "${TINY[@]}" "run.dir=$OUT/run" train.stop_after=10
test_program resume "$HERE/bin/kiln" train "${TINY[@]}" "run.dir=$OUT/run" train.stop_after=20
[[ $DEVICE == cuda ]] && test_program train-replayed "$HERE/bin/kiln" train "${TINY[@]}" \
  "run.dir=$OUT/run-replayed" run.cuda_graph=true train.stop_after=10
# The same bits on one rank and on two, which may share a GPU if they claim to be on different hosts.
same_bits() {
  local ranks
  for ranks in 1 2; do
    mpirun -np $ranks --bind-to none bash -c 'NCCL_HOSTID=$OMPI_COMM_WORLD_RANK exec "$@"' kiln "$HERE/bin/kiln" train \
      "${TINY[@]}" "run.dir=$OUT/run-$ranks" run.reproducible=true train.stop_after=10 &&
      "$HERE/bin/kiln" export "$OUT/run-$ranks" --out "$OUT/run-weights-$ranks" || return 1
  done
  cmp "$OUT/run-weights-1/model.safetensors" "$OUT/run-weights-2/model.safetensors"
}
export -f same_bits
export HERE OUT TINY_WORDS="${TINY[*]}"
test_program same-bits bash -c 'TINY=($TINY_WORDS); same_bits'

say "--- benchmarks"
if [[ $DEVICE == cuda ]]; then B=128 PRECISION=bf16 REPEATS=10; else B=2 PRECISION=fp32 REPEATS=3; fi
COMMON=("run.device=$DEVICE" "run.precision=$PRECISION" "run.dir=$OUT/bench" "train.global_batch=$B" "train.micro_batch=$B"
  checkpoint.every=0 parallel.shard_optimizer=false)
MAE=("$HERE/configs/mae_base_imagenet.toml" "data.path=$HERE/data/images-224" data.crop=none data.flip=false)
BERT=("$HERE/configs/bert_base_128.toml" "data.path=$HERE/data/text" data.pairs=none)
DIT=("$HERE/configs/dit_xl_imagenet.toml" "data.path=$HERE/data/images-32" model.name=pixel_diffusion
  model.preset=dit_s model.learn_variance=false)
bench mae-base step "${MAE[@]}" "${COMMON[@]}" --repeats $REPEATS
bench bert-base-128 step "${BERT[@]}" "${COMMON[@]}" --repeats $REPEATS
bench dit-s2 step "${DIT[@]}" "${COMMON[@]}" --repeats $REPEATS
if [[ $DEVICE == cuda ]]; then
  bench mae-base-replayed step "${MAE[@]}" "${COMMON[@]}" run.cuda_graph=true --repeats $REPEATS
  bench dit-s2-replayed step "${DIT[@]}" "${COMMON[@]}" run.cuda_graph=true --repeats $REPEATS
  bench mae-large step "${MAE[@]}" model.preset=large "${COMMON[@]}" --repeats $REPEATS
  bench bert-large-128 step "${BERT[@]}" model.preset=large "${COMMON[@]}" --repeats $REPEATS
  bench dit-xl2 step "${DIT[@]}" model.preset=dit_xl "${COMMON[@]}" train.global_batch=32 train.micro_batch=32 --repeats $REPEATS
fi
bench kernels kernels "${MAE[@]}" "${COMMON[@]}" --repeats $REPEATS
bench profile-mae-base profile "${MAE[@]}" "${COMMON[@]}" --repeats 3
DTYPE=${PRECISION}
for mode in eager compile "compile --compile-mode max-autotune"; do
  peer mae-base "$mode" mae.py --model vit-b --batch $B --dtype "$DTYPE"
  peer bert-base-128 "$mode" bert.py --model base --variant tuned --batch $B --dtype "$DTYPE"
  peer dit-s2 "$mode" ldm.py --model dit-s2 --batch $B --dtype "$DTYPE"
done

printf '{"version": "%s", "device": "%s", "gpu": "%s", "seconds": %d, "tests": {%s}, "bench": {%s}}\n' \
  "$(cat "$HERE/VERSION")" "$DEVICE" "${GPU//\"/}" "$SECONDS" "$TESTS_JSON" "$BENCH_JSON" >"$OUT/results.json"
say "--- $SECONDS s; $OUT/results.json; $([[ $FAILED -eq 0 ]] && echo "all tests passed" || echo "TESTS FAILED")"
exit $FAILED
