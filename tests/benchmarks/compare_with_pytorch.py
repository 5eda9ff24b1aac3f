"""Times training steps of Kiln beside the same steps in PyTorch, and prints a table of ratios.

  python tests/benchmarks/compare_with_pytorch.py PEERS --images DATASET [--cases mae-vit-b ...]

PEERS is a folder with programs of PyTorch (mae.py, ...) that print one line of JSON with
"step_time_ms". The programs take turns, round by round, so that a busy minute of the machine hits
all of them; the figure of a program is the median over rounds of its medians. Run it with a Python
that has torch; that of the table's last column is the faster of eager and compiled.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAE = "configs/mae_base_imagenet.toml"
COMMON = ["run.device=cpu", "parallel.shard_optimizer=false", "schedule.warmup_epochs=0"]
CASES = {
    "mae-vit-b": {
        "peer": ["mae.py", "--model", "vit-b"], "batch": 8,
        "kiln": [MAE, "model.preset=base"]},
    "mae-vit-ti": {
        "peer": ["mae.py", "--model", "vit-ti"], "batch": 8,
        "kiln": [MAE, "model.dim=192", "model.heads=3"]},
}


def last_json(words: list[str]) -> dict:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def kiln_ms(options, case: dict, dtype: str) -> float:
    words = [options.kiln, "bench", "step", *case["kiln"], *COMMON, f"data.path={options.images}",
             f"run.precision={dtype}", f"run.threads={options.threads}",
             f"train.global_batch={case['batch']}", f"train.micro_batch={case['batch']}",
             "--repeats", str(options.steps), "--json"]
    return 1e3 * last_json(words)["step_s"]["median"]


def peer_ms(options, case: dict, dtype: str, mode: str) -> float:
    script, *words = case["peer"]
    return last_json([sys.executable, str(pathlib.Path(options.peers) / script), *words,
                      "--batch", str(case["batch"]), "--dtype", dtype, "--mode", mode,
                      "--threads", str(options.threads), "--steps", str(options.steps)])["step_time_ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers")
    parser.add_argument("--images", required=True, help="a dataset made by kiln data import images")
    parser.add_argument("--kiln", default=str(ROOT / "build/bin/kiln"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--modes", nargs="+", default=["eager", "compile"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    print("| step, ms | kiln | " + " | ".join(f"PyTorch {mode}" for mode in options.modes) + " | faster / kiln |")
    print("|---" * (len(options.modes) + 3) + "|")
    for name in options.cases:
        for dtype in options.dtypes:
            times: dict[str, list[float]] = {"kiln": [], **{mode: [] for mode in options.modes}}
            for _ in range(options.rounds):
                times["kiln"].append(kiln_ms(options, CASES[name], dtype))
                for mode in options.modes:
                    times[mode].append(peer_ms(options, CASES[name], dtype, mode))
            medians = {key: statistics.median(values) for key, values in times.items()}
            best = min(medians[mode] for mode in options.modes)
            print(f"| {name} {dtype} batch {CASES[name]['batch']} | " +
                  " | ".join(f"{value:.0f}" for value in medians.values()) +
                  f" | {best / medians['kiln']:.2f} |", flush=True)


main()
