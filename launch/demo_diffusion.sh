#!/usr/bin/env bash
# Latent diffusion from pictures to samples, on two ranks of this machine.
#
#   bash launch/demo_diffusion.sh    Debian 12 or Ubuntu 22.04 / 24.04, as root or with sudo
#
# KILN=/usr/bin/kiln  uses that program, and neither installs nor builds anything
# KILN_DATA=/folder   pictures of your own to use: the four files of the MNIST family (gzipped or not)
# KILN_DEMO_DIR       where the runs go; default runs/demo_diffusion
# KILN_DEMO_SEED      of both stages; default 0
# KILN_DEMO_CONFIG    recipe of the second stage: ldm_tiny_fashion (default) or dit_tiny_fashion
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OUT=${KILN_DEMO_DIR:-runs/demo_diffusion}
BUILT=build/bin/kiln
KILN=${KILN:-$BUILT}
DATASETS=datasets/demo
SEED=${KILN_DEMO_SEED:-0}
SECOND=${KILN_DEMO_CONFIG:-ldm_tiny_fashion}

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() { printf 'demo: error: %s\n' "$*" >&2; exit 1; }
ranks() { "$KILN" launch -np 2 -- "$@"; }
figure() { tail -n 1 | sed -n "s/.*\"$1\":\\([0-9.e+-]*\\).*/\\1/p"; }
holds() { awk "BEGIN { exit !($1) }"; }

cat <<'TEXT'
Kiln demo: latent diffusion draws pictures like those it was shown.

  1  set up        what is missing is installed and built         (first time: some minutes)
  2  data          pictures are imported into a sharded dataset   (seconds)
  3  autoencoder   learns to write a picture as a small latent
  4  latents       every picture is encoded once
  5  diffusion     learns to draw latents, class by class
  6  look          samples.png, and how far it is from real pictures
TEXT

title "1/6  Set up"
if [[ $KILN == "$BUILT" ]]; then bash launch/setup.sh; else "$KILN" doctor; fi
source launch/demo_pictures.sh

title "2/6  Data"
find_pictures
echo "pictures: $PICTURES"
DATASETS=$DATASETS-$(basename "$PICTURES")
import train train
import t10k test
FIRST=("data.path=$DATASETS/train" "eval.path=$DATASETS/test" "run.seed=$SEED")
[[ $PICTURES == *digits ]] && FIRST+=(model.pad=4)

title "3/6  Autoencoder"
rm -rf "$OUT"
ranks train configs/autoencoder_tiny_fashion.toml "run.dir=$OUT/autoencoder" "${FIRST[@]}"
psnr=$("$KILN" eval reconstruct "$OUT/autoencoder" eval.max_samples=2000 --json | figure psnr)

title "4/6  Latents"
ranks encode "$OUT/autoencoder" --data "$DATASETS/train" --out "$OUT/latents"
ranks encode "$OUT/autoencoder" --data "$DATASETS/test" --out "$OUT/latents-test"

title "5/6  Diffusion"
ranks train "configs/$SECOND.toml" "run.dir=$OUT/diffusion" "data.path=$OUT/latents" \
  "eval.path=$OUT/latents-test" "model.autoencoder=$OUT/autoencoder" "run.seed=$SEED"

title "6/6  Look"
DRAW=(--steps 25 --guidance 2)
ranks sample "$OUT/diffusion" --num 100 "${DRAW[@]}" --out "$OUT/samples.png"
likelihood=$("$KILN" eval likelihood "$OUT/diffusion" eval.max_samples=512 --json | tail -n 1)
plain=$("$KILN" eval fid "$OUT/diffusion" "eval.path=$DATASETS/train" eval.max_samples=10000 \
  --num 2000 --steps 25 --controls --json | tail -n 1)
guided=$("$KILN" eval fid "$OUT/diffusion" "eval.path=$DATASETS/train" eval.max_samples=10000 \
  --num 500 "${DRAW[@]}" --json | figure class_accuracy)
fd=$(figure frechet_distance <<<"$plain")
noise=$(figure frechet_noise_latents <<<"$plain")
normal=$(figure frechet_normal_latents <<<"$plain")
mse=$(figure mse <<<"$likelihood")
linear=$(figure mse_linear <<<"$likelihood")

row() { printf '  %-58s %10.4f\n' "$1" "$2"; }
row "autoencoder: PSNR on test pictures, dB" "$psnr"
row "diffusion: mean squared error on test latents" "$mse"
row "  the best linear predictor's" "$linear"
row "Frechet distance of samples to real pictures" "$fd"
row "  of latents from a fitted normal distribution" "$normal"
row "  of latents from N(0, I)" "$noise"
row "samples that a linear classifier takes for their class" "$guided"
holds "$mse < $linear" || die "the network is no better than a linear predictor"
holds "$fd < $normal && $fd < $noise" || die "the samples are no better than latents at random"

cat <<TEXT

  samples         $PWD/$OUT/samples.png       a column per class
  reconstructed   $PWD/$OUT/autoencoder/reconstructions.png

Try next:
  $KILN sample $OUT/diffusion --num 64 --class 3 --guidance 3 --out threes.png
  KILN_DEMO_CONFIG=dit_tiny_fashion bash launch/demo_diffusion.sh     a transformer, flow matching
  $KILN export $OUT/diffusion --format huggingface --out unet-hf      for diffusers
TEXT
