"""Measures Espalier and the usual Python stack on the same work, in turn, and prints both as one table.

Every measurement is a process of its own. Its result is a line of runs/compare/results.jsonl as soon as it is there, so
an interrupted comparison goes on with what is missing. A table's cell is the median of the runs.
"""

import argparse
import csv
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from pathlib import Path

RECIPE = "recipes/finance/banking77-intents.yaml"
PARTS = ["banking77", "8x256", "2x1024", "llama-1.1b", "decoding"]
GGUF = "models/smollm2-135m-instruct/model.gguf"

# Speed does not change along an epoch: the first run trains it whole, for its loss and accuracy, the others this far.
STEPS_OF_REPEATS = 25

# SmolLM2-135M: the weights of its linear layers, and the head.
LINEAR_WEIGHTS, HEAD_WEIGHTS = 30 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576), 49152 * 576


class Measurement:
    """One side's way to do a part's work: `command` prints a line of JSON last, or leaves it to `result`."""

    def __init__(self, part, side, command, result=None, once=False):
        self.part, self.side, self.command, self.once = part, side, command, once
        self.result = result or (lambda output: json.loads(output))

    def run(self, log):
        """Runs it and returns what it has found out; everything else that it says goes to `log`."""
        log.write(f"\n== {self.part}, {self.side}: {' '.join(map(str, self.command))}\n")
        log.flush()
        done = subprocess.run(list(map(str, self.command)), stdout=subprocess.PIPE, stderr=log, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"exit status {done.returncode}")
        return self.result(done.stdout)


def write_rows(source, target, count=1000, seed=7):
    """Draws rows of a CSV file without replacement, in an order that the seed decides."""
    with open(source, encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    random.Random(seed).shuffle(records)
    with open(target, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records[:count])


def finished_run(folder):
    """The result of a run of `espalier train`, out of its metrics.jsonl and run.json.

    Useful operations are those that no implementation can leave out: forwards and back through the base for every
    distinct token, the head for every target, and LoRA's factors with their gradients.
    """
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "loss" in line]
    [done] = [line for line in lines if line.get("done")]
    tokens, seconds = sum(step["tokens"] for step in steps), done["train_seconds"]
    distinct, targets = sum(step["computed_tokens"] for step in steps), sum(step["targets"] for step in steps)
    trainable = json.loads((folder / "run.json").read_text(encoding="utf-8"))["adapter"]["trainable_parameters"]
    useful = (4 * LINEAR_WEIGHTS + 6 * trainable) * distinct + 4 * HEAD_WEIGHTS * targets
    return {"steps": len(steps), "tokens": tokens, "train_seconds": seconds, "tokens_per_second": tokens / seconds,
            "distinct_tokens": distinct, "useful_operations_per_second": useful / seconds,
            "last_loss": steps[-1]["loss"], "peak_bytes": done["peak_bytes"]}


def banking77(options, rival, run):
    """One epoch over 1,000 rows, and what both adapters then know about the same held-out rows."""
    data = (options.work / "train.csv").resolve()
    write_rows("recipes/data/banking77/train.csv", data)
    steps = options.max_steps or (STEPS_OF_REPEATS if run > 1 else None)
    limit = ["--max-steps", steps] if steps else []
    suffix = f"-{run}" if run > 1 else ""
    keys = ["--set", f"data.train={data}", "--set", "train.epochs=1"]
    for side, extra in [("Espalier", []), ("Espalier, prefixes not shared", ["--set", "train.share_prefixes=false"])]:
        out = options.work / (("espalier-unshared" if extra else "espalier") + suffix)
        yield Measurement(
            "banking77", side,
            [options.espalier, "train", RECIPE, "--fresh", "--threads", options.threads, "--out", out,
             *keys, *extra, *limit],
            lambda _, out=out: finished_run(out))
    yield Measurement("banking77 peak", "bf16", [
        options.espalier, "bench", "kernels", "--threads", options.threads, "--seconds", 0.01, "--json"], peak)
    trl = options.work / f"trl{suffix}"
    yield Measurement("banking77", "TRL bf16, padding-free", [
        *rival, "trl", "--base", options.base, "--data", data, "--out", trl, "--threads", options.threads, *limit])
    for side, adapter in [("Espalier", options.work / "espalier/adapter"), ("TRL bf16, padding-free", trl / "adapter")]:
        for metric in ["exact-match", "loss"]:
            yield Measurement(
                f"banking77 {metric}", side,
                [options.espalier, "evaluate", RECIPE, "--adapter", adapter, "--threads", options.threads, *keys,
                 "--set", f"evaluate.metric={metric}", "--limit", options.limit, "--json"],
                held_out, once=True)


def peak(output):
    limits = json.loads(output)["limits"][-1]
    return {"peak_operations_per_second": limits["bf16_operations_per_second"]}


def held_out(output):
    report = json.loads(output)
    [metric] = report["metrics"]
    return {"held_out_rows": report["rows"], **metric["adapted"]}


def step(part, options, rival, model, shape, precisions, warm_up, steps, extra):
    """A bare training step on random tokens."""
    rows, width = shape.split("x")
    steps = options.max_steps or steps
    for precision in precisions:
        yield Measurement(f"{part} {precision}", "Espalier", [
            options.espalier, "bench", "step", "--model", model, "--rows", rows, "--tokens-per-row", width,
            "--precision", precision, "--threads", options.threads, "--steps", steps, "--json"])
        yield Measurement(f"{part} {precision}", "bare PEFT loop", [
            *rival, "loop", "--shape", shape, "--dtype", precision, "--threads", options.threads,
            "--warm-up", warm_up, "--steps", steps, *extra])


def decoding(options):
    """Reading a prompt and continuing it, from the same file."""
    ours = [options.espalier, "bench", "decoding", "--base", GGUF, "--threads", options.threads, "--json"]
    theirs = [sys.executable, ".ci/scripts/llama_cpp_rival.py", "--model", GGUF, "--threads", options.threads]
    yield Measurement("decoding", "Espalier", ours)
    yield Measurement("decoding", "llama.cpp", theirs)


def measurements(options, run):
    rival = [sys.executable, ".ci/scripts/rival.py"]
    for part in options.only:
        if part == "banking77":
            yield from banking77(options, rival, run)
        elif part == "decoding":
            yield from decoding(options)
        elif part == "llama-1.1b":
            yield from step(part, options, rival, "llama-1.1b", "4x512", ["bf16"], 1, 3, ["--checkpointing"])
        else:
            yield from step(
                part, options, rival, "smollm2-135m", part, ["bf16", "f32"], 1, 5, ["--base", options.base])


def machine(espalier):
    def field(path, key):
        for line in Path(path).read_text().splitlines():
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
        return "unknown"

    memory = field("/proc/meminfo", "MemTotal").split()
    version = subprocess.run([espalier, "--version"], capture_output=True, text=True).stdout.strip()
    return {"processor": field("/proc/cpuinfo", "model name"), "cores": os.cpu_count(),
            "memory_gib": round(int(memory[0]) / 2**20, 1), "kernel": platform.release(), "version": version}


def measure(options, results):
    """Runs what is missing, all of a part's sides in turn; returns whether everything succeeded."""
    succeeded, known = True, [json.loads(line) for line in results.read_text().splitlines()]
    done = {(line["part"], line["side"], line["run"]) for line in known}
    with open(options.work / "log.txt", "a", encoding="utf-8") as log, open(results, "a", encoding="utf-8") as file:
        for part in options.only:
            single = argparse.Namespace(**{**vars(options), "only": [part]})
            for run in range(1, options.runs + 1):
                for item in measurements(single, run):
                    if (item.part, item.side, run) in done or (item.once and run > 1):
                        continue
                    print(f"{item.part}, {item.side}, run {run} of {1 if item.once else options.runs}", file=sys.stderr)
                    try:
                        facts = item.run(log)
                    except (RuntimeError, ValueError, KeyError, OSError) as error:
                        print(f"  failed: {error}; see {log.name}", file=sys.stderr)
                        succeeded = False
                        continue
                    line = {"part": item.part, "side": item.side, "run": run, **facts}
                    file.write(json.dumps(line) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
    return succeeded


def shown(values, digits=0, factor=1.0):
    """The median, and the extremes where there are several runs."""
    if not values:
        return ""
    text = f"{statistics.median(values) * factor:.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values) * factor:.{digits}f} to {max(values) * factor:.{digits}f})"
    return text


def speeds(groups):
    """One row for each side of each part; ratios are those of Espalier's first row of the part."""
    rows = [["work", "side", "runs", "tokens/s", "seconds", "peak GB", "Espalier is faster by", "and needs of memory"],
            ["---"] * 2 + ["---:"] * 6]
    for (part, key), sides in groups.items():
        ours = sides.get("Espalier", [])
        for side, runs in sides.items():
            speed = [run[key] for run in runs]
            seconds = [run[name] for run in runs for name in ("train_seconds", "step_seconds") if name in run]
            if "train_seconds" in runs[0] and len({run["tokens"] for run in runs}) > 1:
                seconds = seconds[:1]  # the whole epoch; repeats are shorter
            peak = [run["peak_bytes"] for run in runs if "peak_bytes" in run]
            faster = memory = ""
            if ours and side != "Espalier":
                faster = f"{statistics.median(run[key] for run in ours) / statistics.median(speed):.2f}"
            if faster and peak:
                memory = f"{statistics.median(run['peak_bytes'] for run in ours) / statistics.median(peak):.2f}"
            rows.append([part, side, str(len(runs)), shown(speed), shown(seconds, 1), shown(peak, 2, 1e-9),
                         faster, memory])
    return ["| " + " | ".join(row) + " |" for row in rows]


def useful_share(lines):
    """What was reached of the processor's peak, measured in turn with the training."""
    useful = [line["useful_operations_per_second"] for line in lines
              if line["part"] == "banking77" and line["side"] == "Espalier"]
    peaks = [line["peak_operations_per_second"] for line in lines if line["part"] == "banking77 peak"]
    if not useful or not peaks:
        return []
    return [f"- banking77, Espalier: useful arithmetic {shown(useful, 0, 1e-9)} GFLOP/s of {shown(peaks, 0, 1e-9)} "
            f"at the bf16 peak, {statistics.median(useful) / statistics.median(peaks):.0%}"]


def table(lines):
    groups = {}
    for line in lines:
        for part, key in [(line["part"], "tokens_per_second"), ("prompt", "prompt_tokens_per_second")]:
            if key in line:
                groups.setdefault((part, key), {}).setdefault(line["side"], []).append(line)
    scores = [
        f"- {line['part']}, {line['side']}: {line['value']:.4f} (95 % {line['low']:.4f} to {line['high']:.4f}) "
        f"on {line['held_out_rows']} held-out rows"
        for line in lines if "value" in line
    ]
    return "\n".join(speeds(groups) + [""] + useful_share(lines) + scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, help="the base as a Hugging Face folder, for the Python stack")
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS, help=",".join(PARTS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--max-steps", type=int, help="of every training, for a trial of this script")
    parser.add_argument("--espalier", default=".build/release/espalier")
    parser.add_argument("--limit", type=int, default=500, help="held-out rows")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    options = parser.parse_args()
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")

    # A trial's figures mean nothing, so they are kept apart.
    options.work = Path("runs/compare-trial" if options.max_steps else "runs/compare")
    options.work.mkdir(parents=True, exist_ok=True)
    results = options.work / "results.jsonl"
    if options.fresh or not results.exists():
        results.write_text("")
    if os.getloadavg()[0] > 0.5:
        print(f"warning: this machine is busy (load {os.getloadavg()[0]:.1f})", file=sys.stderr)
    succeeded = measure(options, results)
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    versions = {name: version for line in lines for name, version in line.get("versions", {}).items()}
    facts = machine(options.espalier)
    print(f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Linux {facts['kernel']}; "
          f"{facts['version']}; " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "\n")
    print(table(lines))
    sys.exit(0 if succeeded else 1)


if __name__ == "__main__":
    main()
