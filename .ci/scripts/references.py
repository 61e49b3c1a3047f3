"""Reference numbers for the families and options that no published fixture covers.

    references.py FOLDER

makes tiny models with random weights in FOLDER/models and runs transformers and PEFT on them (Pharia, whose code is
not in transformers, runs from its description below). FOLDER/packed gets several sequences in one row, each computed
on its own. The layout is that of Tests/Fixtures/README.md. The same versions give the same files.
"""

import json
import math
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    DeepseekV2Config,
    DeepseekV3Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    Phi3Config,
)

VOCABULARY = 96
SMALL = dict(
    vocab_size=VOCABULARY, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
LATENT = dict(
    SMALL, num_key_value_heads=4, kv_lora_rank=20, qk_nope_head_dim=12, qk_rope_head_dim=8, moe_intermediate_size=24,
    n_routed_experts=6, num_experts_per_tok=2, first_k_dense_replace=1,
)
YARN = dict(rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)

CONFIGS = {
    # Six heads: two more than a power of two.
    "bloom": BloomConfig(vocab_size=VOCABULARY, hidden_size=48, n_layer=2, n_head=6, layer_norm_epsilon=2e-5),
    "bloom_postnorm_residual": BloomConfig(
        vocab_size=VOCABULARY, hidden_size=48, n_layer=2, n_head=4, apply_residual_connection_post_layernorm=True,
    ),
    "gpt2_exact_gelu": GPT2Config(
        vocab_size=VOCABULARY, n_embd=48, n_layer=2, n_head=4, n_positions=32, n_inner=80, activation_function="gelu",
        scale_attn_by_inverse_layer_idx=True,
    ),
    "gpt_neox_sequential": GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new",
        rope_parameters=dict(rope_type="default", rope_theta=5000.0, partial_rotary_factor=0.5),
    ),
    "llama_rope_yarn": LlamaConfig(**SMALL, rope_parameters=dict(YARN, rope_type="yarn", beta_fast=8.0, beta_slow=0.5)),
    "llama_rope_dynamic": LlamaConfig(
        **dict(SMALL, max_position_embeddings=16),
        rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0),
    ),
    "phi3_window": Phi3Config(**SMALL, sliding_window=6, tie_word_embeddings=True),
    "mixtral_window": MixtralConfig(
        **SMALL, head_dim=16, num_local_experts=5, num_experts_per_tok=3, sliding_window=7, rms_norm_eps=1e-6,
    ),
    # Without query compression, values wider than keys, yarn with mscale, two shared experts, no groups.
    "deepseek_v2_greedy": DeepseekV2Config(
        **LATENT, q_lora_rank=None, v_head_dim=24, n_shared_experts=2, topk_method="greedy", attention_bias=True,
        routed_scaling_factor=1.7,
        rope_parameters=dict(YARN, rope_type="yarn", mscale=0.7, mscale_all_dim=0.9),
    ),
    "deepseek_v3_halves": DeepseekV3Config(
        **dict(LATENT, first_k_dense_replace=0), q_lora_rank=28, v_head_dim=12, n_shared_experts=1, n_group=3,
        topk_group=2, norm_topk_prob=False, rope_interleave=False, num_mtp_layers=0,
        rope_parameters=dict(YARN, rope_type="yarn", mscale=1.0, mscale_all_dim=1.0),
    ),
}
# Adapters on experts of models that are there: PEFT stacks the experts and takes names of their layers for the stacks.
VARIANTS = {
    "deepseek_v3_experts": ("deepseek_v3", dict(
        target_modules=["q_b_proj"], target_parameters=["experts.gate_up_proj", "experts.down_proj"],
    )),
    "deepseek_v2_all_linear": ("deepseek_v2", dict(target_modules="all-linear")),
}
PACKED = ["phi3", "apertus", "gpt_neox", "bloom", "pharia", "mixtral", "deepseek_v3", "llama_rope_dynamic"]


class Pharia(nn.Module):
    """Pharia-1 by its model card: Llama's attention, LayerNorm, biases, and down(gelu(up x))."""

    class Config(dict):
        def __getattr__(self, name):
            if name not in self:
                raise AttributeError(name)
            return self[name]

        def to_dict(self):
            return dict(self)

    class Attention(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.config = config
            heads, groups, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
            self.q_proj = nn.Linear(config.hidden_size, heads * dim)
            self.k_proj = nn.Linear(config.hidden_size, groups * dim)
            self.v_proj = nn.Linear(config.hidden_size, groups * dim)
            self.o_proj = nn.Linear(heads * dim, config.hidden_size)

        def forward(self, x, mask):
            config, (rows, length, _) = self.config, x.shape
            half = config.head_dim // 2
            angles = torch.arange(length)[:, None] / config.rope_theta ** (torch.arange(half) / half)
            cos, sin = angles.cos(), angles.sin()

            def heads(y, rotates):
                y = y.view(rows, length, -1, config.head_dim).transpose(1, 2)
                if not rotates:
                    return y
                a, b = y[..., :half], y[..., half:]
                return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

            repeats = config.num_attention_heads // config.num_key_value_heads
            q = heads(self.q_proj(x), True)
            k = heads(self.k_proj(x), True).repeat_interleave(repeats, dim=1)
            v = heads(self.v_proj(x), False).repeat_interleave(repeats, dim=1)
            scores = q @ k.transpose(2, 3) / math.sqrt(config.head_dim) + mask
            return self.o_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, -1))

    class FeedForward(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
            self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

        def forward(self, x):
            return self.down_proj(nn.functional.gelu(self.up_proj(x)))

    class Layer(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.self_attn = Pharia.Attention(config)
            self.mlp = Pharia.FeedForward(config)
            self.input_layernorm = nn.LayerNorm(config.hidden_size)
            self.post_attention_layernorm = nn.LayerNorm(config.hidden_size)

        def forward(self, h, mask):
            h = h + self.self_attn(self.input_layernorm(h), mask)
            return h + self.mlp(self.post_attention_layernorm(h))

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.model.layers = nn.ModuleList(Pharia.Layer(config) for _ in range(config.num_hidden_layers))
        self.model.norm = nn.LayerNorm(config.hidden_size)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, input_ids, attention_mask=None):
        length = input_ids.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1)[None, None]
        if attention_mask is not None:
            mask = mask.masked_fill(attention_mask[:, None, None] == 0, float("-inf"))
        h = self.model.embed_tokens(input_ids)
        for layer in self.model.layers:
            h = layer(h, mask)
        return self.lm_head(self.model.norm(h))

    def save_pretrained(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        save_file(dict(self.state_dict()), folder / "model.safetensors")


PHARIA = Pharia.Config(
    architectures=["PhariaForCausalLM"], model_type="pharia-v1", attention_bias=True, mlp_bias=True, hidden_act="gelu",
    vocab_size=VOCABULARY, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=12, max_position_embeddings=64, rope_theta=1000000.0, tie_word_embeddings=False,
    rope_scaling=None, torch_dtype="float32", bos_token_id=1, eos_token_id=2, pad_token_id=0,
)


def randomize(model):
    """Weights large enough that every part of the model matters."""
    for name, parameter in list(model.named_parameters()) + list(model.named_buffers()):
        if "e_score_correction_bias" in name:
            parameter.data.normal_(0, 0.2)
        elif not isinstance(parameter, nn.Parameter):
            continue
        elif parameter.ndim == 1:
            isgain = "norm" in name or ".ln_" in name
            parameter.data.normal_(1 if isgain and name.endswith("weight") else 0, 0.1)
        elif "embed" in name or "wte" in name or "wpe" in name:
            parameter.data.normal_(0, 0.7)
        else:
            parameter.data.normal_(0, 1.2 / math.sqrt(parameter.shape[-1]))


def body(model):
    return next(child for name, child in model.named_children() if name in ("model", "transformer", "gpt_neox"))


def logits_of(model, ids, mask=None):
    output = model(input_ids=ids, attention_mask=mask)
    return output if torch.is_tensor(output) else output.logits


def losses_of(logits, labels):
    """The loss of every prediction, [B, T-1], 0 where the label is -100."""
    shifted = logits[:, :-1].flatten(0, 1)
    return nn.functional.cross_entropy(shifted, labels[:, 1:].flatten(), reduction="none", ignore_index=-100)


def inputs():
    ids = torch.randint(3, VOCABULARY, (2, 22))
    mask = torch.ones_like(ids)
    mask[1, 15:] = 0
    ids[mask == 0] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[0, :4] = -100
    return dict(input_ids=ids, attention_mask=mask, labels=labels)


def run(model, batch, wants_layers):
    """Logits, loss and hidden states, 0 at the padding."""
    states, hooks = [], []
    core = body(model if not isinstance(model, PeftModel) else model.base_model.model)
    layers = core.layers if hasattr(core, "layers") else core.h
    final = next(getattr(core, name) for name in ("norm", "ln_f", "final_layer_norm") if hasattr(core, name))
    for layer in layers:
        hooks.append(layer.register_forward_pre_hook(lambda _, args: states.append(args[0])))
    hooks.append(final.register_forward_pre_hook(lambda _, args: states.append(args[0])))
    hooks.append(final.register_forward_hook(lambda _, args, output: states.append(output)))
    logits = logits_of(model, batch["input_ids"], batch["attention_mask"])
    for hook in hooks:
        hook.remove()
    losses = losses_of(logits, batch["labels"])
    result = dict(loss=losses.sum() / (batch["labels"][:, 1:] != -100).sum(), logits=logits)
    result["hidden.final"] = states.pop()
    if wants_layers:
        result |= {f"hidden.{index}": state for index, state in enumerate(states)}
    for name, value in result.items():
        if value.ndim == 3:
            result[name] = value * batch["attention_mask"][..., None]
    return result


def saved(tensors, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().contiguous().clone() for name, value in tensors.items()}, path)


def gradients(model):
    return {
        "grad." + name.replace(".default", ""): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def adapted(model, targets):
    return randomized(get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type=None)))


def randomized(model):
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.3)
    return model


def linear_names(model):
    kinds = ("Linear", "Conv1D")
    return sorted({
        name.split(".")[-1]
        for name, module in model.named_modules()
        if type(module).__name__ in kinds and name not in ("lm_head", "embed_out")
    })


def make(name, model, folder):
    torch.manual_seed(sum(map(ord, name)))
    model.eval()
    randomize(model)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    batch = inputs()
    saved(batch | run(model, batch, True), folder / "expected.safetensors")
    targets = linear_names(model)
    if "kv_a_proj_with_mqa" in targets:  # PEFT would take the others for its stacked experts
        targets = [target for target in targets if target not in ("gate_proj", "up_proj", "down_proj")]
    model = adapted(model, targets)
    expected = run(model, batch, False)
    expected["loss"].backward()
    model.save_pretrained(folder / "lora")
    (folder / "lora" / "README.md").unlink(missing_ok=True)
    saved(expected | gradients(model), folder / "lora_expected.safetensors")


def vary(base, options, folder):
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager", dtype=torch.float32)
    inputs = load_file(base / "expected.safetensors")
    batch = {name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}
    model = randomized(get_peft_model(model.eval(), LoraConfig(r=2, lora_alpha=4, **options)))
    expected = run(model, batch, False)
    expected["loss"].backward()
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    saved(batch | expected | gradients(model), folder / "expected.safetensors")


def load(folder):
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "pharia-v1":
        model = Pharia(Pharia.Config(config))
        model.load_state_dict(load_file(folder / "model.safetensors"))
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    return PeftModel.from_pretrained(model.eval(), folder / "lora", is_trainable=True)


def pack(folder, path):
    torch.manual_seed(11)  # at none of these tokens does f32 differ from f64 by more than 1e-5
    model = load(folder)
    model.eval()
    lengths = [9, 1, 20, 5]
    rows = [torch.randint(3, VOCABULARY, (1, length)) for length in lengths]
    labels = [row.clone() for row in rows]
    for label in labels:
        label[0, 0] = -100
    labels[2][0, 1:6] = -100
    logits, sums = [], []
    for row, label in zip(rows, labels):
        logits.append(logits_of(model, row))
        sums.append(losses_of(logits[-1], label).sum())
    counts = [int((label[:, 1:] != -100).sum()) for label in labels]
    loss = sum(sums) / sum(counts)
    loss.backward()
    saved(
        dict(
            input_ids=torch.cat(rows, 1), labels=torch.cat(labels, 1),
            position_ids=torch.cat([torch.arange(length)[None] for length in lengths], 1),
            segment_ids=torch.cat([torch.full((1, length), index) for index, length in enumerate(lengths)], 1),
            logits=torch.cat(logits, 1), loss=loss, loss_sum_per_sequence=torch.stack(sums),
            token_count_per_sequence=torch.tensor(counts),
        )
        | gradients(model),
        path,
    )


def main(folder):
    torch.set_num_threads(1)
    for name, config in CONFIGS.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
        make(name, model, folder / "models" / name)
        print(name)
    make("pharia", Pharia(PHARIA), folder / "models" / "pharia")
    for name, (base, options) in VARIANTS.items():
        vary(folder / "models" / base, options, folder / "variants" / name)
        print("variant", name)
    for name in PACKED:
        pack(folder / "models" / name, folder / "packed" / f"{name}.safetensors")
        print("packed", name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
