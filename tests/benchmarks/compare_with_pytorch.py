"""Times training steps of Kiln beside the same steps in PyTorch, and prints a table of ratios.

  kiln data import images photos/ --out datasets/photos        class = folder
  python tests/benchmarks/compare_with_pytorch.py PEERS --images datasets/photos [--cases dit-s2 ...]

PEERS is a folder with programs of PyTorch (mae.py, ldm.py, ...) that print one line of JSON with
"step_time_ms"; pytorch_autoencoder.py lies here. The programs take turns, round by round, so that a
busy minute of the machine hits all of them; the figure of a program is the median over rounds of its
medians. Run it with a Python that has torch and diffusers; that of the table's last column is the
faster of eager and compiled. Latents for the cases of diffusion are made first, by an autoencoder
that has seen one batch: what they show has no influence on time.

On a GPU (--device cuda --dtypes bf16 --modes eager compile max-autotune) the cases have larger
batches, and those whose loss can be recorded are also timed replayed as a CUDA graph.
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
COMMON = ["parallel.shard_optimizer=false", "checkpoint.every=0"]
LATENT_DIFFUSION = ["configs/dit_xl_imagenet.toml", "model.autoencoder=", "model.latent_scale=1",
                    "model.learn_variance=false"]
DIT = [*LATENT_DIFFUSION, "model.num_classes=1000", "model.preset=dit_s", "optimizer.weight_decay=0"]
UNET = [*LATENT_DIFFUSION, "model.preset=unet_tiny", "model.conditioning=none", "model.channels=64",
        "model.multipliers=[1, 2, 4]", "model.attention_levels=[1, 2]", "model.blocks=2",
        "model.head_channels=32", "model.norm_groups=32"]
AUTOENCODER = ["configs/autoencoder_kl_f4.toml", "model.channels=64", "model.perceptual=none",
               "model.discriminator=false", "data.size=64", "data.crop=center", "data.flip=false",
               "ema.decay=0.999"]
PIXEL_DIFFUSION = ["configs/dit_xl_imagenet.toml", "model.name=pixel_diffusion", "model.learn_variance=false",
                   "data.crop=none", "data.flip=false"]
BERT = ["configs/bert_base_128.toml", "schedule.warmup_steps=0"]
CASES = {
    "mae-vit-b": {
        "peer": ["mae.py", "--model", "vit-b"], "batch": 8, "gpu_batch": 256, "recordable": True,
        "kiln": [*MAE, "model.preset=base"]},
    "mae-vit-l": {
        "peer": ["mae.py", "--model", "vit-l"], "batch": 2, "gpu_batch": 128, "recordable": True,
        "kiln": [*MAE, "model.preset=large"]},
    "mae-vit-ti": {
        "peer": ["mae.py", "--model", "vit-ti"], "batch": 8, "gpu_batch": 256, "recordable": True,
        "kiln": [*MAE, "model.dim=192", "model.heads=3"]},
    **{f"bert-{model}-{length}{suffix}": {
        "peer": ["bert.py", "--model", model, "--seq", str(length), "--variant", variant],
        "batch": batch, "gpu_batch": gpu_batch, "data": "text",
        "kiln": [*BERT, f"model.preset={model}", f"data.sequence_length={length}",
                 f"model.max_predictions={round(.15 * length)}"]}
       for model, length, batch, gpu_batch in [
           ("base", 128, 8, 256), ("base", 512, 2, 64), ("mini", 128, 16, 256),
           ("large", 128, 2, 128), ("large", 512, 1, 32)]
       for suffix, variant in [("", "tuned"), ("-plain", "hf")]},
    "dit-s2": {
        "peer": ["ldm.py", "--model", "dit-s2"], "batch": 8, "gpu_batch": 128,
        "recordable": True, "data": "latents", "kiln": DIT},
    "dit-heads-of-72": {
        "peer": ["ldm.py", "--model", "dit-custom", "--dim", "288", "--heads", "4"], "batch": 8,
        "gpu_batch": 128, "recordable": True, "data": "latents", "kiln": [*DIT, "model.dim=288", "model.heads=4"]},
    "dit-xl2": {
        "peer": ["ldm.py", "--model", "dit-xl2"], "batch": 1, "gpu_batch": 32, "recordable": True,
        "data": "latents", "kiln": [*DIT, "model.preset=dit_xl"]},
    "unet-small": {
        "peer": ["ldm.py", "--model", "unet-small", "--channels-last"], "batch": 8, "gpu_batch": 128,
        "recordable": True,
        "data": "latents", "kiln": UNET},
    "unet-ldm4": {
        "peer": ["ldm.py", "--model", "unet-ldm4", "--size", "64", "--channels-last"], "batch": 1,
        "gpu_batch": 32, "recordable": True,
        "kiln": [*PIXEL_DIFFUSION, "model.preset=unet_ldm4", "model.conditioning=none", "data.size=64"]},
    "autoencoder-kl": {
        "peer": ["pytorch_autoencoder.py", "--channels-last"], "batch": 4, "gpu_batch": 32, "kiln": AUTOENCODER},
}


def run(words: list[str], peers: str = "") -> str | None:
    """Standard output of a program; None, and a note of why, if it fails."""
    environment = {**os.environ, "PYTHONPATH": peers} if peers else None
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment)
    if done.returncode == 0:
        return done.stdout
    print(f"{' '.join(words)}: exit status {done.returncode}\n{done.stderr[-1500:]}", file=sys.stderr, flush=True)
    return None


def last_json(words: list[str], peers: str = "") -> dict | None:
    output = run(words, peers)
    return json.loads(output.strip().splitlines()[-1]) if output else None


def make_latents(options, folder: pathlib.Path) -> str:
    """The images at 128 pixels as latents of 4 x 32 x 32, with their classes."""
    images = [f"data.path={options.images}", "data.size=128", "data.crop=center"]
    run([options.kiln, "train", "configs/autoencoder_tiny_fashion.toml", *images, "eval.path=",
         "model.pad=0", "train.stop_after=1", "train.global_batch=4", "train.micro_batch=4",
         "run.device=cpu", f"run.dir={folder / 'autoencoder'}"])
    run([options.kiln, "encode", str(folder / "autoencoder"), *images[1:], "--device", "cpu", "--data",
         options.images, "--out", str(folder / "latents")])
    return str(folder / "latents")


def kiln(options, case: dict, dtype: str, replayed: bool) -> dict | None:
    words = [*(MPIRUN + [str(options.ranks)] if options.ranks > 1 else []),
             options.kiln, "bench", "step", *case["kiln"], *COMMON,
             f"data.path={options.data[case.get('data', 'images')]}",
             f"run.device={options.device}", f"run.precision={dtype}", f"run.threads={options.threads}",
             f"run.cuda_graph={str(replayed).lower()}",
             f"train.global_batch={case['batch'] * options.ranks}",
             f"train.micro_batch={case['batch']}",
             "--repeats", str(options.steps), "--json"]
    return last_json(words)


def peer(options, case: dict, dtype: str, mode: str) -> dict | None:
    script, *words = case["peer"]
    folder = pathlib.Path(options.peers).resolve()
    program = folder / script if (folder / script).exists() else HERE / script
    launcher = TORCHRUN + [str(options.ranks)] if options.ranks > 1 else []
    modes = ["eager"] if mode == "eager" else ["compile", "--compile-mode", mode.replace("compile", "default")]
    return last_json([sys.executable, *launcher, str(program), *words, "--batch", str(case["batch"]),
                      "--device", options.device, "--dtype", dtype, "--mode", *modes,
                      "--threads", str(options.threads), "--steps", str(options.steps)], str(folder))


def step_ms(figures: dict) -> float:
    return figures["step_time_ms"] if "step_time_ms" in figures else 1e3 * figures["step_s"]["median"]


def print_row(options, name: str, dtype: str) -> None:
    case = CASES[name]
    programs = {"kiln": lambda: kiln(options, case, dtype, False)}
    if options.device == "cuda":
        programs["kiln replayed"] = lambda: kiln(options, case, dtype, True) if "recordable" in case else None
    for mode in options.modes:
        programs[mode] = lambda mode=mode: peer(options, case, dtype, mode)
    results: dict[str, list[dict | None]] = {key: [] for key in programs}
    for _ in range(options.rounds):
        for key, program in programs.items():
            results[key].append(program())
    medians = {key: statistics.median(ms) for key, values in results.items()
               if (ms := [step_ms(value) for value in values if value])}
    ours = [value for key, value in medians.items() if key.startswith("kiln")]
    theirs = [value for key, value in medians.items() if not key.startswith("kiln")]
    ratio = f"{min(theirs) / min(ours):.2f}" if ours and theirs else "-"
    cells = [f"{medians[key]:.{0 if medians[key] > 300 else 1}f}" if key in medians else "-" for key in programs]
    print(f"| {name} {dtype} batch {case['batch']} | " + " | ".join(cells) + f" | {ratio} |", flush=True)
    if options.out:
        with open(options.out, "a") as file:
            file.write(json.dumps({"case": name, "dtype": dtype, "batch": case["batch"], **results}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers")
    parser.add_argument("--images", required=True,
                        help="a dataset made by kiln data import images, with classes for dit-*")
    parser.add_argument("--text", help="a dataset made by kiln data import text, for bert-*")
    parser.add_argument("--kiln", default=str(ROOT / "build/bin/kiln"))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--modes", nargs="*", default=["eager", "compile"],
                        help="eager, compile, or a mode of torch.compile: max-autotune")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7, help="at least 3")
    parser.add_argument("--threads", type=int, default=2, help="of each rank")
    parser.add_argument("--ranks", type=int, default=1, help="each with a batch; DDP over gloo beside MPI")
    parser.add_argument("--batch", type=int, help="default: each case's own")
    parser.add_argument("--out", help="a file to which all figures of a case are added, a line of JSON each")
    options = parser.parse_args()
    for case in CASES.values():
        case["batch"] = options.batch or case["batch" if options.device == "cpu" else "gpu_batch"]
    options.images = str(pathlib.Path(options.images).resolve())

    with tempfile.TemporaryDirectory() as folder:
        options.data = {"images": options.images, "text": options.text}
        if any(CASES[name].get("data") == "latents" for name in options.cases):
            options.data["latents"] = make_latents(options, pathlib.Path(folder))
        columns = ["kiln", *(["kiln replayed"] if options.device == "cuda" else []),
                   *(f"PyTorch {mode}" for mode in options.modes)]
        print("| step, ms | " + " | ".join(columns) + " | faster / kiln |")
        print("|---" * (len(columns) + 2) + "|", flush=True)
        for name in options.cases:
            for dtype in options.dtypes:
                print_row(options, name, dtype)


if __name__ == "__main__":
    main()
