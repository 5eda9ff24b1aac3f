#!/usr/bin/env bash
# Latent diffusion from data to pictures on two CPU cores: autoencoder, latents, U-Net, samples.
#
#   bash launch/demo_diffusion.sh [FOLDER WITH FASHION-MNIST]
#
# Without a folder it takes datasets/fashion-mnist-idx. Result: demo_diffusion/samples.png.
set -euo pipefail
cd "$(dirname "$0")/.."

images="${1:-datasets/fashion-mnist-idx}"
ranks="${KILN_RANKS:-2}"
out=demo_diffusion

[ -x build/bin/kiln ] || bash launch/setup.sh
kiln() { build/bin/kiln "$@"; }
ranks() { mpirun -q -np "$ranks" --oversubscribe --bind-to none build/bin/kiln "$@"; }

mkdir -p "$out"
[ -e "$out/train/dataset.json" ] || kiln data import idx "$images" --out "$out/train"
[ -e "$out/test/dataset.json" ] || kiln data import idx "$images" --split test --out "$out/test"

echo "== autoencoder"
ranks train configs/autoencoder_tiny_fashion.toml run.dir="$out/autoencoder" data.path="$out/train" eval.path="$out/test"
ranks eval reconstruct "$out/autoencoder" eval.path="$out/test" eval.max_samples=2048

echo "== latents"
[ -e "$out/latents/dataset.json" ] || ranks encode "$out/autoencoder" --data "$out/train" --out "$out/latents"

echo "== diffusion"
ranks train configs/ldm_tiny_fashion.toml run.dir="$out/ldm" data.path="$out/latents" model.autoencoder="$out/autoencoder"

echo "== samples, a column per class"
ranks sample "$out/ldm" --num 100 --sampler ddim --steps 25 --guidance 2 --out "$out/samples.png"
echo "$out/samples.png"
