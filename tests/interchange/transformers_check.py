"""Loads models that Kiln exported in transformers: no key missing or unexpected, the same loss.

  transformers_check.py PARITY_PROGRAM CASE...

Each CASE is a stored case whose weights go through import and export first. Exit status 77 (skipped)
without torch and transformers, 1 if anything differs.
"""
import functools
import pathlib
import subprocess
import sys

try:
    import torch
    import transformers
    from safetensors.torch import load_file
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

from stored_cases import check_all, loading_problems

MODELS = {"vit_mae": "ViTMAEForPreTraining", "vit": "ViTForImageClassification"}
LOSS_TOLERANCE = 1e-5


def inputs_of(case: dict, model_type: str) -> dict:
    names = {"vit_mae": ["pixel_values", "noise"], "vit": ["pixel_values", "labels"]}[model_type]
    return {name: case[name] for name in names}


def check(program: str, folder: pathlib.Path, out: pathlib.Path) -> list[str]:
    subprocess.run([program, "--reexport", str(folder), str(out)], check=True)
    model_type = transformers.AutoConfig.from_pretrained(out).model_type
    cls = getattr(transformers, MODELS[model_type])
    model, info = cls.from_pretrained(out, output_loading_info=True, attn_implementation="eager")
    problems = loading_problems(info)
    before, after = load_file(folder / "model.safetensors"), load_file(out / "model.safetensors")
    renamed = {k.replace("decoder.decoder_encoder.layer", "decoder.decoder_layers"): v for k, v in before.items()}
    problems += [f"{name} changed" for name in renamed if not torch.equal(renamed[name], after[name])]
    case = load_file(folder / "case.safetensors")
    with torch.no_grad():
        loss = model.eval()(**inputs_of(case, model_type)).loss.item()
    if abs(loss - case["loss"].item()) > LOSS_TOLERANCE:
        problems.append(f"loss {loss}, expected {case['loss'].item()}")
    return problems


def main() -> int:
    program, folders = sys.argv[1], [pathlib.Path(name) for name in sys.argv[2:]]
    return check_all(folders, functools.partial(check, program), "loads, same weights, same loss")


if __name__ == "__main__":
    sys.exit(main())
