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
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BloomConfig,
    DeepseekV2Config,
    DeepseekV3Config,
    EuroBertConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    ModernBertConfig,
    Phi3Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
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
TINY = dict(
    vocab_size=VOCABULARY, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=64, pad_token_id=0,
)
GROUPED = dict(TINY, num_key_value_heads=2, bos_token_id=1, eos_token_id=2)
BERT = dict(TINY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
MODERN = dict(TINY, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)
# By the class that is on top: masked language, a label for a text, a label for a token, or nothing.
ENCODERS = {
    "bert_mlm_tanh": (AutoModelForMaskedLM, BertConfig(**BERT, hidden_act="gelu_new")),
    "bert_tokcls": (
        AutoModelForTokenClassification, BertConfig(**BERT, hidden_act="relu", type_vocab_size=3, num_labels=5),
    ),
    "roberta_mlm": (
        AutoModelForMaskedLM,
        RobertaConfig(
            **dict(BERT, pad_token_id=1, max_position_embeddings=30), type_vocab_size=2, tie_word_embeddings=False,
        ),
    ),
    "xlm_roberta_states": (AutoModel, XLMRobertaConfig(**dict(BERT, pad_token_id=3), type_vocab_size=2)),
    "modernbert_cls": (
        AutoModelForSequenceClassification,
        ModernBertConfig(**MODERN, local_attention=5, classifier_pooling="cls", classifier_bias=True, num_labels=2),
    ),
    # Every second layer sees everything, biases everywhere, other activations, rotary settings of both kinds.
    "modernbert_tokcls": (
        AutoModelForTokenClassification,
        ModernBertConfig(
            **dict(MODERN, num_hidden_layers=3), local_attention=6, norm_bias=True, attention_bias=True, mlp_bias=True,
            classifier_bias=True, hidden_activation="silu", classifier_activation="relu", norm_eps=1e-4, num_labels=4,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", rope_theta=50000.0, factor=2.0),
                sliding_attention=dict(rope_type="default", rope_theta=5000.0),
            ),
        ),
    ),
    "modernbert_mlm_untied": (
        AutoModelForMaskedLM, ModernBertConfig(**MODERN, decoder_bias=False, tie_word_embeddings=False),
    ),
    "eurobert_mean": (
        AutoModelForSequenceClassification,
        EuroBertConfig(**GROUPED, classifier_pooling="mean", attention_bias=True, head_dim=12, num_labels=3),
    ),
    "eurobert_bos": (
        AutoModelForSequenceClassification, EuroBertConfig(**TINY, classifier_pooling="bos", num_labels=5),
    ),
    "eurobert_mlm_tied": (AutoModelForMaskedLM, EuroBertConfig(**GROUPED, mlp_bias=True, tie_word_embeddings=True)),
    "eurobert_tokcls": (AutoModelForTokenClassification, EuroBertConfig(**GROUPED, num_labels=3)),
    # Decoders with a head for labels.
    "qwen3_seqcls": (
        AutoModelForSequenceClassification, Qwen3Config(**GROUPED, head_dim=12, tie_word_embeddings=True, num_labels=2),
    ),
    "gemma2_tokcls": (
        AutoModelForTokenClassification, Gemma2Config(**GROUPED, head_dim=12, sliding_window=6, num_labels=3),
    ),
    "gpt2_seqcls": (
        AutoModelForSequenceClassification,
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=32, pad_token_id=0, num_labels=3,
        ),
    ),
    "gpt_neox_tokcls": (AutoModelForTokenClassification, GPTNeoXConfig(**TINY, num_labels=3)),
}
PACKED_ENCODERS = ["bert_tokcls", "roberta_mlm", "modernbert_cls", "modernbert_tokcls", "eurobert_mean", "qwen3_seqcls"]
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
            isgain = "norm" in name.lower() or ".ln_" in name
            parameter.data.normal_(1 if isgain and name.endswith("weight") else 0, 0.1)
        elif "embed" in name or "wte" in name or "wpe" in name:
            parameter.data.normal_(0, 0.7)
        else:
            parameter.data.normal_(0, 1.2 / math.sqrt(parameter.shape[-1]))


def body(model):
    names = ("model", "transformer", "gpt_neox", "bert", "roberta")
    return next((child for name, child in model.named_children() if name in names), model)


def kind(model):
    """What the model's labels are: of a text, of each token, none, or the next tokens."""
    name = type(model.base_model.model if isinstance(model, PeftModel) else model).__name__
    endings = {
        "SequenceClassification": "text", "TokenClassification": "token", "MaskedLM": "token", "LMHeadModel": "next",
        "Model": "none",
    }
    return next((value for ending, value in endings.items() if name.endswith(ending)), "next")


def logits_of(model, ids, mask=None, types=None):
    others = {} if types is None else dict(token_type_ids=types)
    output = model(input_ids=ids, attention_mask=mask, **others)
    return output if torch.is_tensor(output) else output.get("logits")


def losses_of(logits, labels, kind="next"):
    """The loss of every prediction, 0 where the label is -100, and how many there are."""
    if kind == "next":
        logits, labels = logits[:, :-1], labels[:, 1:]
    losses = nn.functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), reduction="none", ignore_index=-100
    )
    return losses, (labels != -100).sum()


def inputs(model):
    ids = torch.randint(3, VOCABULARY, (2, 22))
    mask = torch.ones_like(ids)
    mask[1, 15:] = 0
    padding = getattr(model.config, "pad_token_id", None) or 0
    if padding == 3:  # also inside of a text
        ids[0, 5] = padding
    ids[mask == 0] = padding
    labels = ids.masked_fill(mask == 0, -100)
    labels[0, :4] = -100
    batch = dict(input_ids=ids, attention_mask=mask)
    if kind(model) == "next":
        return batch | dict(labels=labels)
    if kind(model) == "text":
        batch["labels"] = torch.randint(0, model.config.num_labels, (2,))
    if kind(model) == "token":
        ismasked = type(model).__name__.endswith("MaskedLM")
        batch["labels"] = torch.randint(0, VOCABULARY if ismasked else model.config.num_labels, ids.shape)
        batch["labels"][(mask == 0) | (torch.rand(ids.shape) < 0.6)] = -100
    if getattr(model.config, "type_vocab_size", 0) > 1:
        batch["token_type_ids"] = torch.randint(0, model.config.type_vocab_size, ids.shape)
    return batch


def pooled(states, mask):
    """The states of a text made one vector."""
    weights = mask[..., None]
    return {
        "pooled.first": states[:, 0], "pooled.last": states[torch.arange(len(states)), mask.sum(1) - 1],
        "pooled.mean": (states * weights).sum(1) / weights.sum(1),
    }


def run(model, batch, wants_layers):
    """Logits, loss and hidden states, 0 at the padding."""
    states, hooks = [], []
    core = body(model if not isinstance(model, PeftModel) else model.base_model.model)
    layers = core.encoder.layer if hasattr(core, "encoder") else core.layers if hasattr(core, "layers") else core.h
    norms = ("norm", "ln_f", "final_layer_norm", "final_norm")
    final = next((getattr(core, name) for name in norms if hasattr(core, name)), None)
    for layer in layers:
        hooks.append(layer.register_forward_pre_hook(lambda _, args: states.append(args[0])))
    if final is None:
        for _ in range(2):
            hooks.append(layers[-1].register_forward_hook(lambda _, args, output: states.append(output)))
    else:
        hooks.append(final.register_forward_pre_hook(lambda _, args: states.append(args[0])))
        hooks.append(final.register_forward_hook(lambda _, args, output: states.append(output)))
    logits = logits_of(model, batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"))
    for hook in hooks:
        hook.remove()
    result = {"hidden.final": states.pop()}
    if logits is None:
        result |= pooled(result["hidden.final"], batch["attention_mask"])
    else:
        losses, count = losses_of(logits, batch["labels"], kind(model))
        result |= dict(loss=losses.sum() / count, logits=logits)
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
        "grad." + name.replace(".modules_to_save", "").replace(".default", ""): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def adapted(model, targets):
    heads = ["classifier", "score"] if type(model).__name__.endswith("Classification") else None
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, modules_to_save=heads, task_type=None)
    return randomized(get_peft_model(model, config))


def randomized(model):
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.3)
        elif "modules_to_save" in name:
            parameter.data += torch.randn_like(parameter) * 0.1
    return model


def linear_names(model):
    kinds = ("Linear", "Conv1D")
    return sorted({
        name.split(".")[-1]
        for name, module in model.named_modules()
        if type(module).__name__ in kinds and name.split(".")[-1] not in HEADS
    })


HEADS = ("lm_head", "embed_out", "decoder", "classifier", "score", "out_proj")


def make(name, model, folder):
    torch.manual_seed(sum(map(ord, name)))
    model.eval()
    randomize(model)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    batch = inputs(model)
    saved(batch | run(model, batch, True), folder / "expected.safetensors")
    targets = linear_names(model)
    if "kv_a_proj_with_mqa" in targets:  # PEFT would take the others for its stacked experts
        targets = [target for target in targets if target not in ("gate_proj", "up_proj", "down_proj")]
    model = adapted(model, targets)
    expected = run(model, batch, False)
    (expected["loss"] if "loss" in expected else expected["pooled.mean"].sum()).backward()
    model.save_pretrained(folder / "lora")
    (folder / "lora" / "README.md").unlink(missing_ok=True)
    if "loss" in expected:
        expected |= gradients(model)
    saved(expected, folder / "lora_expected.safetensors")


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
        loader = ENCODERS[folder.name][0] if folder.name in ENCODERS else AutoModelForCausalLM
        model = loader.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    return PeftModel.from_pretrained(model.eval(), folder / "lora", is_trainable=True)


def pack(folder, path):
    torch.manual_seed(11)  # at none of these tokens does f32 differ from f64 by more than 1e-5
    model = load(folder)
    model.eval()
    lengths = [9, 1, 20, 5]
    rows = [torch.randint(3, VOCABULARY, (1, length)) for length in lengths]
    what, labels = kind(model), [row.clone() for row in rows]
    if what == "next":
        for label in labels:
            label[0, 0] = -100
    elif what == "text":
        labels = [torch.randint(0, model.config.num_labels, (1,)) for _ in rows]
    else:
        limit = VOCABULARY if "MaskedLM" in type(model.base_model.model).__name__ else model.config.num_labels
        labels = [torch.randint(0, limit, row.shape) for row in rows]
    if what != "text":
        labels[2][0, 1:6] = -100
    logits, sums, counts = [], [], []
    for row, label in zip(rows, labels):
        logits.append(logits_of(model, row))
        losses, count = losses_of(logits[-1], label, what)
        sums.append(losses.sum())
        counts.append(int(count))
    loss = sum(sums) / sum(counts)
    loss.backward()
    saved(
        dict(
            input_ids=torch.cat(rows, 1), labels=torch.cat(labels, 0 if what == "text" else 1),
            position_ids=torch.cat([torch.arange(length)[None] for length in lengths], 1),
            segment_ids=torch.cat([torch.full((1, length), index) for index, length in enumerate(lengths)], 1),
            logits=torch.cat(logits, 0 if what == "text" else 1), loss=loss, loss_sum_per_sequence=torch.stack(sums),
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
    for name, (loader, config) in ENCODERS.items():
        torch.manual_seed(0)
        model = loader.from_config(config, attn_implementation="eager", dtype=torch.float32)
        make(name, model, folder / "models" / name)
        print(name)
    for name in PACKED + PACKED_ENCODERS:
        pack(folder / "models" / name, folder / "packed" / f"{name}.safetensors")
        print("packed", name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
