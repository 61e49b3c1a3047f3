"""The usual Python stack on the work that Espalier is measured with; one measurement per process, one line of JSON.

`trl` is TRL's SFTTrainer with PEFT in its fastest setting on a processor; `loop` is a bare PEFT training step on random
tokens. Seconds are those of training, without loading; tokens are real ones, never padding.
"""

import argparse
import csv
import json
import resource
import sys
import time

SYSTEM = "Classify the customer's message. Answer with the intent only."


def report(**facts):
    import peft
    import torch
    import transformers

    facts["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts["threads"] = torch.get_num_threads()
    facts["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    print(json.dumps(facts), flush=True)


def load_base(folder):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


def random_llama():
    """A Llama of 1.1 billion random bf16 parameters; in float32 it would not fit beside its activations everywhere."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        num_hidden_layers=22, hidden_size=2048, intermediate_size=5632, num_attention_heads=32,
        num_key_value_heads=4, vocab_size=32000, max_position_embeddings=4096, tie_word_embeddings=False)
    torch.set_default_dtype(torch.bfloat16)  # so that no float32 copy is ever made
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    torch.set_default_dtype(torch.float32)
    return model


def lora():
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def trl(arguments):
    """One epoch over the file: 16 rows a step, cosine from 5e-4 with 5 warm-up steps, loss on the answers only."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(arguments.threads)
    with open(arguments.data, encoding="utf-8", newline="") as file:
        records = [
            {
                "prompt": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": record["text"]}],
                "completion": [{"role": "assistant", "content": record["category"]}],
            }
            for record in csv.DictReader(file)
        ]
    bf16 = arguments.dtype == "bf16"
    config = SFTConfig(
        output_dir=arguments.out,
        num_train_epochs=1,
        max_steps=arguments.max_steps or -1,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=1,
        learning_rate=5e-4,
        lr_scheduler_type="cosine",
        warmup_steps=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        completion_only_loss=True,
        padding_free=bf16,  # its fastest setting; in float32 it gains nothing here
        max_length=None if bf16 else 256,
        bf16=bf16,
        use_cpu=True,
        activation_checkpointing=False,
        seed=7,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=load_base(arguments.base),
        args=config,
        train_dataset=Dataset.from_list(records),
        processing_class=AutoTokenizer.from_pretrained(arguments.base),
        peft_config=lora(),
    )
    with open(sys.stderr.fileno(), "w", closefd=False) as log:
        sys.stdout, original = log, sys.stdout  # the trainer prints its losses to stdout
        started = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - started
        trainer.save_model(f"{arguments.out}/adapter")
        sys.stdout = original
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    tokens = int(float(steps[-1]["num_tokens"]))  # counted by the trainer, without padding
    report(name="trl", dtype=arguments.dtype, steps=len(steps), tokens=tokens, train_seconds=seconds,
           tokens_per_second=tokens / seconds, first_loss=float(steps[0]["loss"]), last_loss=float(steps[-1]["loss"]))


def loop(arguments):
    """Forward, backward and AdamW on rows of random tokens, all of them targets; the median of the timed steps.

    Without a base, a Llama of 1.1 billion random parameters.
    """
    import torch
    from peft import get_peft_model

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(7)
    count, width = map(int, arguments.shape.split("x"))
    base = load_base(arguments.base) if arguments.base else random_llama()
    if arguments.checkpointing:
        base.config.use_cache = False
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model = get_peft_model(base, lora()).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-4, weight_decay=0.0)
    ids = torch.randint(0, model.config.vocab_size, (count, width))
    seconds = []
    for _ in range(arguments.warm_up + arguments.steps):
        started = time.monotonic()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.dtype == "bf16"):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.monotonic() - started)
    timed = sorted(seconds[arguments.warm_up :])
    median = timed[len(timed) // 2]
    report(name="loop", dtype=arguments.dtype, rows=count, tokens_per_row=width, step_seconds=median,
           fastest_step_seconds=timed[0], tokens_per_second=count * width / median)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)

    for verb in [trl, loop]:
        sub = verbs.add_parser(verb.__name__, help=verb.__doc__.splitlines()[0])
        sub.add_argument("--base", required=verb is trl, help="a Hugging Face model folder")
        sub.add_argument("--dtype", choices=["bf16", "f32"], default="bf16", help="bf16 is autocast")
        sub.add_argument("--threads", type=int, default=2)
        if verb is trl:
            sub.add_argument("--data", required=True)
            sub.add_argument("--out", required=True)
            sub.add_argument("--max-steps", type=int)
        else:
            sub.add_argument("--shape", default="8x256", help="rows x tokens")
            sub.add_argument("--warm-up", type=int, default=1)
            sub.add_argument("--steps", type=int, default=5)
            sub.add_argument("--checkpointing", action="store_true", help="compute activations again going back")
        sub.set_defaults(run=verb)

    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
