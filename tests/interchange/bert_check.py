"""BERT between transformers and Kiln, in every layout it was published in.

  bert_check.py PARITY_PROGRAM

transformers writes a folder, Kiln imports and exports it, transformers loads the result: no key missing
or unexpected, every value as it was, outputs within 1e-4; a second round gives the same bytes. A real
checkpoint is tried where the user has one (HF_HOME). Exit status 77 (skipped) without torch and
transformers, 1 if anything differs.
"""
import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

from stored_cases import loading_problems

OUTPUT_TOLERANCE = 1e-4
REAL = ["bert-base-uncased", "google-bert/bert-base-uncased", "bert-base-cased", "google-bert/bert-base-cased"]


def config(**changes):
    sizes = dict(vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                 max_position_embeddings=40)
    return transformers.BertConfig(**{**sizes, **changes})


def old_names(folder: pathlib.Path) -> None:
    """As the first checkpoints were: gamma and beta, position_ids, the tied decoder written out."""
    weights = load_file(folder / "model.safetensors")
    prefix = "bert." if any(name.startswith("bert.") for name in weights) else ""
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
           for name, value in weights.items()}
    old[prefix + "embeddings.position_ids"] = torch.arange(40).unsqueeze(0)
    if "cls.predictions.bias" in old:
        old["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"].clone()
        old["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"].clone()
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})


def with_prefix(folder: pathlib.Path) -> None:
    """A bare encoder as part of a larger model."""
    weights = load_file(folder / "model.safetensors")
    save_file({"bert." + name: value for name, value in weights.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})


def cases():
    models = transformers
    yield "BertForPreTraining", models.BertForPreTraining(config()), None
    yield "BertForMaskedLM", models.BertForMaskedLM(config()), None
    yield "BertModel", models.BertModel(config()), None
    yield "BertModel without pooler", models.BertModel(config(), add_pooling_layer=False), None
    yield "tanh GELU", models.BertForPreTraining(config(hidden_act="gelu_new")), None
    yield "BertForPreTraining, old names", models.BertForPreTraining(config()), old_names
    yield "BertForMaskedLM, old names", models.BertForMaskedLM(config()), old_names
    yield "BertModel, old names", models.BertModel(config()), old_names
    yield "BertModel, with prefix", models.BertModel(config()), with_prefix
    for name in REAL:
        try:
            yield name, models.BertForPreTraining.from_pretrained(name, local_files_only=True), None
            return
        except Exception:  # not there
            continue
    print("real checkpoint: skipped, HF_HOME holds no BERT")


def outputs(model) -> list[torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(5, 100, (3, 17))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    segments = (torch.arange(17) > 8).long().expand(3, 17)
    with torch.no_grad():
        found = model.eval()(input_ids=ids, attention_mask=mask, token_type_ids=segments)
    return [value for value in found.values() if torch.is_tensor(value)]


def check(program: str, model, change, folder: pathlib.Path) -> list[str]:
    theirs, ours, again = folder / "theirs", folder / "ours", folder / "again"
    # Values that no two tensors share, biases and norms included.
    torch.manual_seed(0)
    if model.config.vocab_size == 120:
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(theirs)
    if change:
        change(theirs)
    subprocess.run([program, "--reexport", theirs, ours], check=True)
    subprocess.run([program, "--reexport", ours, again], check=True)
    options = {"add_pooling_layer": False} if getattr(model, "pooler", True) is None else {}
    loaded, info = type(model).from_pretrained(ours, output_loading_info=True, **options)
    problems = loading_problems(info)
    for name, value in model.state_dict().items():
        if not torch.equal(value, loaded.state_dict()[name]):
            problems.append(f"{name} changed")
    worst = max((a - b).abs().max().item() for a, b in zip(outputs(model), outputs(loaded)))
    if worst > OUTPUT_TOLERANCE:
        problems.append(f"outputs differ by {worst}")
    if (ours / "model.safetensors").read_bytes() != (again / "model.safetensors").read_bytes():
        problems.append("the second export has other bytes")
    return problems


def main() -> int:
    failed = False
    for name, model, change in cases():
        with tempfile.TemporaryDirectory() as temporary:
            problems = check(sys.argv[1], model, change, pathlib.Path(temporary))
        print(f"{name}: {'; '.join(problems) or 'same weights, same outputs, same bytes'}")
        failed |= bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
