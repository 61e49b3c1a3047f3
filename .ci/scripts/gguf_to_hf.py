"""Writes a GGUF file of the llama architecture as a Hugging Face model folder: float32 safetensors, config, tokenizer.

It shares no code with Espalier: reading and dequantising are those of the `gguf` package, so that the folder is an
independent account of what the file holds.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

# GPT-2's pattern, as ByteLevel has it built in; "smollm" splits every digit off first.
DIGITS_APART = {"smollm"}

TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def hugging_face_name(name):
    stem, kind = name.rsplit(".", 1)
    if stem in OUTER:
        return f"{OUTER[stem]}.{kind}"
    block, layer, part = stem.split(".")
    assert block == "blk", name
    return f"model.layers.{layer}.{TENSORS[part]}.{kind}"


def in_halves(weight, heads):
    """Undoes llama.cpp's reordering of q and k rows, from rotary pairs side by side to pairs half a head apart."""
    rows = weight.shape[0]
    return weight.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def config(fields, tensors):
    key = lambda name: fields[f"llama.{name}"]
    heads = key("attention.head_count")
    special = lambda name: fields.get(f"tokenizer.ggml.{name}_token_id")
    assert "rope_freqs.weight" not in tensors and not any(name.startswith("llama.rope.scaling") for name in fields), (
        "scaled rotary positions are not converted here"
    )
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=key("embedding_length"),
        intermediate_size=key("feed_forward_length"),
        num_hidden_layers=key("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=fields.get("llama.attention.head_count_kv", heads),
        head_dim=fields.get("llama.attention.key_length", key("embedding_length") // heads),
        max_position_embeddings=key("context_length"),
        rms_norm_eps=float(key("attention.layer_norm_rms_epsilon")),
        rope_parameters={"rope_type": "default", "rope_theta": float(fields.get("llama.rope.freq_base", 10000.0))},
        tie_word_embeddings="output.weight" not in tensors,
        bos_token_id=special("bos"),
        eos_token_id=special("eos"),
        pad_token_id=special("padding"),
        dtype="float32",
    )


def weights(tensors, heads, kv_heads):
    state = {}
    for name, tensor in tensors.items():
        # GGUF lists the innermost dimension first; dequantised data comes with the outermost first.
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape([int(n) for n in reversed(tensor.shape)])
        if ".attn_q." in name:
            values = in_halves(values, heads)
        elif ".attn_k." in name:
            values = in_halves(values, kv_heads)
        state[hugging_face_name(name)] = torch.from_numpy(np.ascontiguousarray(values))
    return state


def tokenizer(fields):
    """A byte-level tokenizer; other kinds are refused. Control tokens (type 3) and user-defined ones (4) are added."""
    assert fields["tokenizer.ggml.model"] == "gpt2", "only byte-level tokenizers are converted"
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    result = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    if fields.get("tokenizer.ggml.pre") in DIGITS_APART:
        steps.insert(0, pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"))
    result.pre_tokenizer = pre_tokenizers.Sequence(steps)
    result.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"]
    result.add_tokens(
        [AddedToken(tokens[id], special=kind == 3, normalized=False) for id, kind in enumerate(types) if kind in (3, 4)]
    )
    ids = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in SPECIAL.items()}
    named = {name: tokens[id] for name, id in ids.items() if id is not None}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=result, clean_up_tokenization_spaces=False, **named)
    wrapped.chat_template = fields.get("tokenizer.chat_template")
    return wrapped


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    reader = gguf.GGUFReader(arguments.gguf)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "llama", "only the llama architecture is converted"
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    shape = config(fields, tensors)
    shape.save_pretrained(folder)
    save_file(weights(tensors, shape.num_attention_heads, shape.num_key_value_heads), folder / "model.safetensors",
              metadata={"format": "pt"})
    tokenizer(fields).save_pretrained(folder)
    print(json.dumps({"tensors": len(tensors), "folder": str(folder)}))


if __name__ == "__main__":
    main()
