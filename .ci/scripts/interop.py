"""What PyTorch, transformers and PEFT compute for an adapter, written down for `espalier parity` to compare with.

Everything in float32 with the plain attention. Token ids come from Tests/Fixtures/real, where the base model's own
losses stand as well, so the converted model is checked before it is used as a reference.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

PAD = 0  # masked, so any id does
NLL_TOLERANCE = 1e-4  # relative; "good" for real models according to Tests/Fixtures/README.md


def load_base(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def read_vectors(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def check_base(arguments):
    """Compares every token's loss with the reference's, which came from the same GGUF file by another way."""
    model = load_base(arguments.base)
    for name, text in read_vectors(arguments.vectors)["texts"].items():
        ids = torch.tensor([text["ids"]])
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        mean, expected = losses.mean().item(), text["mean"]
        worst = (losses - torch.tensor(text["nll"])).abs().max().item()
        print(f"base, {name}: mean loss {mean:.6f}, reference {expected:.6f}; at most {worst:.1e} off at a token")
        if abs(mean - expected) > NLL_TOLERANCE * expected:
            sys.exit("error: the converted model is not the one in the GGUF file")


def make_inputs(vectors):
    """Rows of unequal lengths, padded on the right, every token after the first a target."""
    rows = [text["ids"] for text in vectors["texts"].values() if len(text["ids"]) <= 64]
    rows += [prompt["ids"] for prompt in vectors["prompts"][:2]]
    width = max(map(len, rows))
    fill = lambda value, row: [value] * (width - len(row))
    return {
        "input_ids": torch.tensor([row + fill(PAD, row) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + fill(0, row) for row in rows]),
        "labels": torch.tensor([[-100] + row[1:] + fill(-100, row) for row in rows]),
    }


def load_adapter(base, folder):
    """Loads the adapter with PEFT and makes sure that every tensor of the file arrived, and no other is expected."""
    model = PeftModel.from_pretrained(base, folder, is_trainable=True).eval()
    arrived = get_peft_model_state_dict(model)
    stored = load_file(Path(folder) / "adapter_model.safetensors")
    if arrived.keys() != stored.keys():
        sys.exit(f"error: PEFT and {folder} disagree about {sorted(arrived.keys() ^ stored.keys())[:4]}")
    for name, tensor in stored.items():
        if not torch.equal(arrived[name], tensor.float()):
            sys.exit(f"error: {name} of {folder} is not what PEFT loaded")
    print(f"PEFT loads all {len(stored)} tensors of {folder}")
    return model


def expect(arguments):
    """Writes logits and loss of the adapted model, and the gradient of the loss in each of the adapter's tensors."""
    model = load_adapter(load_base(arguments.base), arguments.adapter)
    inputs = make_inputs(read_vectors(arguments.vectors))
    output = model(**inputs)
    output.loss.backward()
    with torch.no_grad(), model.disable_adapter():
        distance = (model(**inputs).logits - output.logits)[inputs["attention_mask"].bool()].abs().max().item()
    print(f"the adapter moves the logits by up to {distance:.3g}")
    if distance == 0:
        sys.exit("error: the adapter changes nothing, so nothing would be compared")
    padding = inputs["attention_mask"] == 0
    logits = output.logits.detach().masked_fill(padding[..., None], 0)
    gradients = {
        "grad." + name.replace(".default.", "."): parameter.grad.contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    save_file({**inputs, "logits": logits, "loss": output.loss.detach()}, out / "expected.safetensors")
    save_file({**inputs, **gradients}, out / "expected_gradients.safetensors")


def random_adapter(arguments):
    """Writes an adapter of random numbers as PEFT saves it, with both matrices far from zero."""
    torch.manual_seed(7)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", use_rslora=True)
    model = get_peft_model(load_base(arguments.base), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(arguments.out)


def summary(arguments):
    """Says how far a report of `espalier parity --json` is from the reference at its worst."""
    text = Path(arguments.report).read_text(encoding="utf-8")
    if not text.strip():
        return  # parity failed before it compared anything, and has said why
    report = json.loads(text)
    if report.get("compared"):
        worst = max(report["compared"], key=lambda row: row["relative"])
        print(f"  {arguments.base}: {len(report['compared'])} tensors compared; "
              f"the worst is off by {worst['relative']:.1e} of its largest value ({worst['tensor']})")
    for row in report.get("not_compared", []):
        print(f"  not compared: {row['tensor']}: {row['why']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    takes = {
        check_base: ["vectors"],
        random_adapter: ["out"],
        expect: ["vectors", "adapter", "out"],
        summary: ["report"],
    }
    for verb, needs in takes.items():
        sub = verbs.add_parser(verb.__name__.replace("_", "-"), help=verb.__doc__)
        for option in ["base", *needs]:
            sub.add_argument("--" + option, required=True)
        sub.set_defaults(run=verb)
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # as the reference numbers were computed; its threads also spin on a busy machine
    arguments.run(arguments)


if __name__ == "__main__":
    main()
