"""Times training steps of Kiln beside the same steps in PyTorch, and prints a table of ratios.

  kiln data import images photos/ --out datasets/photos        class = folder
  python tests/benchmarks/compare_with_pytorch.py PEERS --images datasets/photos [--cases dit-s2 ...]

PEERS is a folder with programs of PyTorch (mae.py, ldm.py, ...) that print one line of JSON with
"step_time_ms"; pytorch_autoencoder.py lies here. The programs take turns, round by round, so that a
busy minute of the machine hits all of them; the figure of a program is the median over rounds of its
medians. Run it with a Python that has torch and diffusers; that of the table's last column is the
faster of eager and compiled. Latents for the cases of diffusion are made first, by an autoencoder
that has seen one batch: what they show has no influence on time.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
MAE = ["configs/mae_base_imagenet.toml", "schedule.warmup_epochs=0"]
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node"]
COMMON = ["run.device=cpu", "parallel.shard_optimizer=false"]
LATENT_DIFFUSION = ["configs/dit_xl_imagenet.toml", "model.autoencoder=", "model.latent_scale=1",
                    "model.learn_variance=false"]
DIT = [*LATENT_DIFFUSION, "model.num_classes=1000", "model.preset=dit_s", "optimizer.weight_decay=0"]
UNET = [*LATENT_DIFFUSION, "model.preset=unet_tiny", "model.conditioning=none", "model.channels=64",
        "model.multipliers=[1, 2, 4]", "model.attention_levels=[1, 2]", "model.blocks=2",
        "model.head_channels=32", "model.norm_groups=32"]
AUTOENCODER = ["configs/autoencoder_kl_f4.toml", "model.channels=64", "model.perceptual=none",
               "model.discriminator=false", "data.size=64", "data.crop=center", "data.flip=false",
               "ema.decay=0.999"]
BERT = ["configs/bert_base_128.toml", "schedule.warmup_steps=0"]
CASES = {
    "mae-vit-b": {
        "peer": ["mae.py", "--model", "vit-b"], "batch": 8,
        "kiln": [*MAE, "model.preset=base"]},
    "mae-vit-ti": {
        "peer": ["mae.py", "--model", "vit-ti"], "batch": 8,
        "kiln": [*MAE, "model.dim=192", "model.heads=3"]},
    **{f"bert-{model}-{length}{suffix}": {
        "peer": ["bert.py", "--model", model, "--seq", str(length), "--variant", variant],
        "batch": batch, "data": "text",
        "kiln": [*BERT, f"model.preset={model}", f"data.sequence_length={length}",
                 f"model.max_predictions={round(.15 * length)}"]}
       for model, length, batch in [("base", 128, 8), ("base", 512, 2), ("mini", 128, 16)]
       for suffix, variant in [("", "tuned"), ("-plain", "hf")]},
    "dit-s2": {
        "peer": ["ldm.py", "--model", "dit-s2"], "batch": 8, "data": "latents", "kiln": DIT},
    "dit-heads-of-72": {
        "peer": ["ldm.py", "--model", "dit-custom", "--dim", "288", "--heads", "4"], "batch": 8,
        "data": "latents", "kiln": [*DIT, "model.dim=288", "model.heads=4"]},
    "unet-small": {
        "peer": ["ldm.py", "--model", "unet-small", "--channels-last"], "batch": 8,
        "data": "latents", "kiln": UNET},
    "autoencoder-kl": {
        "peer": ["pytorch_autoencoder.py", "--channels-last"], "batch": 4, "kiln": AUTOENCODER},
}


def output_of(words: list[str], peers: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": peers} if peers else None
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def last_json(words: list[str], peers: str = "") -> dict:
    return json.loads(output_of(words, peers).strip().splitlines()[-1])


def make_latents(options, folder: pathlib.Path) -> str:
    """The images at 128 pixels as latents of 4 x 32 x 32, with their classes."""
    images = [f"data.path={options.images}", "data.size=128", "data.crop=center"]
    output_of([options.kiln, "train", "configs/autoencoder_tiny_fashion.toml", *images, "eval.path=",
               "model.pad=0", "train.stop_after=1", "train.global_batch=4", "train.micro_batch=4",
               f"run.dir={folder / 'autoencoder'}"])
    output_of([options.kiln, "encode", str(folder / "autoencoder"), *images[1:], "--data",
               options.images, "--out", str(folder / "latents")])
    return str(folder / "latents")


def kiln_ms(options, case: dict, dtype: str, data: dict[str, str]) -> float:
    words = [*(MPIRUN + [str(options.ranks)] if options.ranks > 1 else []),
             options.kiln, "bench", "step", *case["kiln"], *COMMON,
             f"data.path={data[case.get('data', 'images')]}",
             f"run.precision={dtype}", f"run.threads={options.threads}",
             f"train.global_batch={case['batch'] * options.ranks}",
             f"train.micro_batch={case['batch']}",
             "--repeats", str(options.steps), "--json"]
    return 1e3 * last_json(words)["step_s"]["median"]


def peer_ms(options, case: dict, dtype: str, mode: str) -> float:
    script, *words = case["peer"]
    folder = pathlib.Path(options.peers).resolve()
    program = folder / script if (folder / script).exists() else HERE / script
    launcher = TORCHRUN + [str(options.ranks)] if options.ranks > 1 else []
    return last_json([sys.executable, *launcher, str(program), *words, "--batch", str(case["batch"]),
                      "--dtype", dtype, "--mode", mode, "--threads", str(options.threads),
                      "--steps", str(options.steps)], str(folder))["step_time_ms"]


def print_row(options, name: str, dtype: str, data: dict[str, str]) -> None:
    case = CASES[name]
    times: dict[str, list[float]] = {"kiln": [], **{mode: [] for mode in options.modes}}
    for _ in range(options.rounds):
        times["kiln"].append(kiln_ms(options, case, dtype, data))
        for mode in options.modes:
            times[mode].append(peer_ms(options, case, dtype, mode))
    medians = {key: statistics.median(values) for key, values in times.items()}
    best = min(medians[mode] for mode in options.modes)
    print(f"| {name} {dtype} batch {case['batch']} | " +
          " | ".join(f"{value:.0f}" for value in medians.values()) +
          f" | {best / medians['kiln']:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers")
    parser.add_argument("--images", required=True,
                        help="a dataset made by kiln data import images, with classes for dit-*")
    parser.add_argument("--text", help="a dataset made by kiln data import text, for bert-*")
    parser.add_argument("--kiln", default=str(ROOT / "build/bin/kiln"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--modes", nargs="+", default=["eager", "compile"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7, help="at least 3")
    parser.add_argument("--threads", type=int, default=2, help="of each rank")
    parser.add_argument("--ranks", type=int, default=1, help="each with a batch; DDP over gloo beside MPI")
    parser.add_argument("--batch", type=int, help="default: each case's own")
    options = parser.parse_args()
    for case in CASES.values():
        case["batch"] = options.batch or case["batch"]
    options.images = str(pathlib.Path(options.images).resolve())

    with tempfile.TemporaryDirectory() as folder:
        data = {"images": options.images, "text": options.text}
        if any(CASES[name].get("data") == "latents" for name in options.cases):
            data["latents"] = make_latents(options, pathlib.Path(folder))
        print("| step, ms | kiln | " + " | ".join(f"PyTorch {mode}" for mode in options.modes) +
              " | faster / kiln |")
        print("|---" * (len(options.modes) + 3) + "|")
        for name in options.cases:
            for dtype in options.dtypes:
                print_row(options, name, dtype, data)


main()
