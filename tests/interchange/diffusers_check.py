"""Loads models that Kiln exported in diffusers: no key missing or unexpected, the same outputs.

  diffusers_check.py PARITY_PROGRAM FOLDER_OF_CASES

Each case's weights go through import and export first. Exit status 77 (skipped) without torch and
diffusers, 1 if anything differs.
"""
import functools
import json
import pathlib
import subprocess
import sys

try:
    import diffusers
    import torch
    from safetensors.torch import load_file
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

from stored_cases import check_all, loading_problems

TOLERANCE = 1e-4  # of the largest magnitude
WEIGHTS = "diffusion_pytorch_model.safetensors"


def autoencoder_kl(model, case):
    moments = model.quant_conv(model.encoder(case["sample"]))
    return {"moments": moments, "recon": model.decode(case["z"]).sample}


def vq_model(model, case):
    return {"z": model.encode(case["sample"]).latents, "recon": model(case["sample"]).sample}


def unet_2d(model, case):
    return {"pred": model(case["x_t"], case["timesteps"], class_labels=case["class_labels"]).sample}


def unet_2d_condition(model, case):
    return {"pred": model(case["x_t"], case["timesteps"], case["encoder_hidden_states"]).sample}


def dit(model, case):
    return {"out": model(case["x_t"], timestep=case["timesteps"], class_labels=case["class_labels"]).sample}


CASES = {"autoencoder_kl": autoencoder_kl, "vqmodel": vq_model, "unet2d": unet_2d,
         "unet2dcondition": unet_2d_condition, "dit": dit, "dit_learn_sigma": dit}
# Beside these a scheduler_config.json says how the model was trained.
WITH_SCHEDULER = {"unet2d", "unet2dcondition", "dit", "dit_learn_sigma"}


def check(program: str, folder: pathlib.Path, out: pathlib.Path) -> list[str]:
    subprocess.run([program, "--reexport", str(folder), str(out)], check=True)
    config = json.loads((out / "config.json").read_text())
    cls = getattr(diffusers, config["_class_name"])
    model, info = cls.from_pretrained(out, output_loading_info=True, low_cpu_mem_usage=False)
    problems = loading_problems(info)
    before, after = load_file(folder / "model.safetensors"), load_file(out / WEIGHTS)
    problems += [f"{name} missing or added" for name in before.keys() ^ after.keys()]
    problems += [f"{name} changed" for name in before.keys() & after.keys()
                 if not torch.equal(before[name], after[name])]
    case = load_file(folder / "case.safetensors")
    with torch.no_grad():
        outputs = CASES[folder.name](model.eval(), case)
    for name, value in outputs.items():
        difference = (value - case[name]).abs().max() / case[name].abs().max()
        if not difference <= TOLERANCE:
            problems.append(f"{name} differs by {difference:.2g} of its largest magnitude")
    if folder.name in WITH_SCHEDULER:
        scheduler = json.loads((out / "scheduler_config.json").read_text())
        getattr(diffusers, scheduler["_class_name"]).from_config(scheduler)
    return problems


def main() -> int:
    program, cases = sys.argv[1], pathlib.Path(sys.argv[2])
    return check_all([cases / name for name in CASES], functools.partial(check, program),
                     "loads, same weights, same outputs")


if __name__ == "__main__":
    sys.exit(main())
