#!/usr/bin/env bash
# From nothing to an evaluated masked autoencoder, on two ranks of this machine.
#
#   bash launch/demo.sh              Debian 12 or Ubuntu 22.04 / 24.04, as root or with sudo
#
# KILN=/usr/bin/kiln  uses that program, and neither installs nor builds anything
# KILN_DATA=/folder   pictures of your own to use: the four files of the MNIST family (gzipped or not)
# KILN_DEMO_DIR       where the run goes; default runs/demo
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

RUN=${KILN_DEMO_DIR:-runs/demo}
BUILT=build/bin/kiln
KILN=${KILN:-$BUILT}
DATASETS=datasets/demo
CONFIG=configs/mae_tiny_fashion.toml

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() { printf 'demo: error: %s\n' "$*" >&2; exit 1; }

cat <<'TEXT'
Kiln demo: a masked autoencoder learns to fill in hidden parts of pictures.

  1  set up      what is missing is installed and built         (first time: some minutes)
  2  data        pictures are imported into a sharded dataset   (seconds)
  3  train       on two ranks; stopped half-way, then resumed   (about two minutes)
  4  evaluate    against the same network untrained             (about half a minute)
  5  look        reconstructions.png and report.html
TEXT

title "1/5  Set up"
if [[ $KILN == "$BUILT" ]]; then bash launch/setup.sh; else "$KILN" doctor; fi

source launch/demo_pictures.sh

title "2/5  Data"
find_pictures
echo "pictures: $PICTURES"
DATASETS=$DATASETS-$(basename "$PICTURES")
import train train
import t10k test
"$KILN" data info "$DATASETS/train"

# --- train --------------------------------------------------------------------------------------

SETTINGS=("run.dir=$RUN" "data.path=$DATASETS/train" "eval.path=$DATASETS/test"
  "eval.train_path=$DATASETS/train" eval.pictures=12)
LENGTH=(train.epochs=4)
if [[ $PICTURES == *digits ]]; then
  SETTINGS+=(model.patch=2)
  LENGTH=(train.epochs=150)
fi
TRAIN=("$KILN" launch -np 2 -- train "$CONFIG" "${SETTINGS[@]}" "${LENGTH[@]}")

progress() { sed -n 's/.*"step":\([0-9]*\),"samples".*/\1/p' "$RUN/metrics.jsonl" 2>/dev/null | tail -n 1 || true; }

title "3/5  Train"
rm -rf "$RUN"
total=$("${TRAIN[@]:0:1}" "${TRAIN[@]:5}" --dry-run --json | tail -n 1 |
  sed -n 's/.*"steps":\([0-9]*\).*/\1/p')
printf '%s\n' "${TRAIN[*]}"
"${TRAIN[@]}" &
supervisor=$!
trap 'kill -TERM $supervisor 2>/dev/null || true' EXIT
while kill -0 "$supervisor" 2>/dev/null; do
  step=$(progress)
  ((${step:-0} * 2 >= total)) && break
  sleep 0.5
done
if kill -TERM "$supervisor" 2>/dev/null; then
  title "     Half-way: SIGTERM, as a scheduler would send it"
fi
status=0
wait "$supervisor" || status=$?
[[ $status -eq 75 ]] || die "training ended with status $status instead of 75 (stopped after saving)"
"$KILN" checkpoint list "$RUN"
title "     The same command again goes on from there"
trap - EXIT
"${TRAIN[@]}"

# --- evaluate -----------------------------------------------------------------------------------

accuracy() {  # of what the kiln eval words say
  "$KILN" eval "$@" --json 2>/dev/null | tail -n 1 | sed -n 's/.*"accuracy":\([0-9.e-]*\).*/\1/p'
}

title "4/5  Evaluate: features of the encoder, trained against untrained"
printf '%-44s %10s %10s\n' "accuracy on test pictures" untrained trained
for row in "knn|k nearest neighbours, 10,000 labels|10000" "linear|linear probe, 1,000 labels|1000"; do
  IFS='|' read -r kind text labels <<<"$row"
  before=$(accuracy "$kind" "$RUN" "eval.train_samples=$labels" --untrained)
  after=$(accuracy "$kind" "$RUN" "eval.train_samples=$labels")
  printf '%-44s %10.4f %10.4f\n' "$text" "$before" "$after"
  awk -v a="$after" -v b="$before" 'BEGIN { exit !(a > b) }' ||
    die "the trained encoder is no better than the untrained one in $kind"
done

title "5/5  Look"
"$KILN" eval reconstruct "$RUN" eval.max_samples=2000
report=$("$KILN" report "$RUN")
cat <<TEXT

  picture   $PWD/$RUN/reconstructions.png     originals, masked, reconstructed
  report    $report
  weights   $PWD/$RUN/checkpoints

Try next:
  $KILN train $CONFIG --dry-run                          every key of a recipe, explained
  $KILN launch -np 2 -- train $CONFIG ${SETTINGS[*]:1:3} run.dir=runs/longer train.epochs=20
  $KILN export $RUN --format huggingface --out mae-hf    for transformers
  $KILN data import images PHOTOS --out datasets/photos  your own pictures
TEXT
