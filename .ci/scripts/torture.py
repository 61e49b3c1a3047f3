"""Stops a training run in every way that can be had, goes on with it, and demands what an uninterrupted run gives.

Random kills at any time, also while a run goes on after another kill; SIGKILL at every system call that writes; a disk
that is full, and one that fails, at each of these calls; every state of the disk that a power cut can leave; bits that
flip in a checkpoint. After every stop the run must go on from a checkpoint if one was published, end with the same adapter
and the same losses to the byte, and leave no temporary file.
"""

import argparse
import hashlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import power_cut

RECIPE = """\
base: {base}
base_name: example/tiny
data: {{ train: train.csv, system: Answer with the intent., prompt: "{{text}}", completion: "{{category}}" }}
adapter: {{ rank: 4, alpha: 8, targets: all-linear, dropout: 0.1 }}
train: {{ epochs: {epochs}, learning_rate: 1e-2, batch_tokens: 512, max_length: 256, seed: 3, checkpoint_every: 2 }}
out: run
"""
ROWS = [("I am still waiting on my card?", "card_arrival"), ("The machine kept my card", "card_swallowed"),
        ("How do I top up by transfer?", "topping_up"), ("Where is my card", "card_arrival"),
        ("My card was eaten by the machine", "card_swallowed")]

# Everything by which a run changes a file or a folder.
CALLS = "openat,write,pwrite64,fsync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,ftruncate"


class Torture:
    def __init__(self, espalier, folder, epochs):
        self.espalier, self.folder = Path(espalier).resolve(), Path(folder)
        base = Path("Tests/Fixtures/gguf/tiny_llama.gguf").resolve()
        (self.folder / "recipe.yaml").write_text(RECIPE.format(base=base, epochs=epochs), encoding="utf-8")
        rows = "".join(f"{text},{category}\n" for text, category in ROWS)
        (self.folder / "train.csv").write_text("text,category\n" + rows, encoding="utf-8")
        self.failures = []
        # A control is meant to fail, and says so itself.
        self.is_control = False

    def command(self, out, *extra):
        return [str(self.espalier), "train", str(self.folder / "recipe.yaml"), "--out", str(out), "--threads", "1", *extra]

    def run(self, out, *extra, before=()):
        return subprocess.run([*before, *self.command(out, *extra)], capture_output=True, text=True)

    def whole(self):
        """The run that nothing disturbs: its result, its seconds, and the calls by which it writes."""
        out = self.folder / "whole"
        started = time.monotonic()
        done = self.run(out)
        if done.returncode != 0:
            sys.exit(f"the undisturbed run fails: {done.stderr}")
        self.seconds, self.expected = time.monotonic() - started, self.result(out)

    @staticmethod
    def result(out):
        """The adapter's digest and everything in metrics.jsonl but times and memory."""
        adapter = hashlib.sha256((out / "adapter/adapter_model.safetensors").read_bytes()).hexdigest()
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        kept = ["step", "loss", "learning_rate", "grad_norm", "tokens", "done", "steps"]
        return adapter, [[line.get(key) for key in kept] for line in lines]

    @staticmethod
    def published(out):
        names = [path.name for path in (out / "checkpoints").glob("step-*")] if (out / "checkpoints").exists() else []
        return max((int(name[5:]) for name in names), default=None)

    def check(self, name, out):
        """Goes on to the end, and holds the result against the undisturbed run's."""
        step, was_finished = self.published(out), (out / "run.json").exists()
        done = self.run(out, "--resume")
        if done.returncode != 0:
            return self.fail(name, f"going on fails with {done.returncode}: {done.stderr[-300:]}")
        if "damaged" in done.stderr:
            self.fail(name, "a published checkpoint was damaged")
        if self.result(out) != self.expected:
            self.fail(name, "the result is another one")
        record = json.loads((out / "run.json").read_text(encoding="utf-8"))
        if not was_finished and record["resumed_from"] != step:
            self.fail(name, f"it went on from {record['resumed_from']}, not from checkpoint {step}")
        left = [str(path) for path in out.rglob("*") if re.search(r"\.tmp-|\.trash-|damaged-", path.name)]
        if left:
            self.fail(name, f"left behind: {left}")
        shutil.rmtree(out)

    def fail(self, name, why):
        if not self.is_control:
            print(f"FAILED {name}: {why}", flush=True)
        self.failures.append(name)

    def random_kills(self, count, seed):
        draw = random.Random(seed)
        for trial in range(count):
            out = self.folder / "killed"
            for again in range(draw.choice([1, 1, 2, 3])):
                process = subprocess.Popen(
                    self.command(out, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(draw.uniform(0, self.seconds))
                process.send_signal(signal.SIGKILL)
                process.wait()
            out.mkdir(exist_ok=True)
            self.check(f"random kill {trial}", out)

    def calls(self):
        """How many calls that write an undisturbed run makes."""
        log, out = self.folder / "calls.txt", self.folder / "traced"
        self.run(out, before=["strace", "-f", "-o", str(log), "-e", f"trace={CALLS}"])
        shutil.rmtree(out)
        return sum(1 for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if "(" in line)

    def sweep(self, injection, every):
        count = self.calls()
        stops = range(1, count + 1, every)
        for number in stops:
            out = self.folder / "swept"
            log = self.folder / "swept.txt"
            done = self.run(out, before=["strace", "-f", "-o", str(log), "-e", f"trace={CALLS}", "-e",
                                         f"inject={CALLS}:{injection}:when={number}"])
            if not injection.startswith("signal") and done.returncode not in (0, 69, 70, 73, 74, 65, 66, 127):
                self.fail(f"{injection} at call {number}", f"exit status {done.returncode}: {done.stderr[-200:]}")
            out.mkdir(exist_ok=True)
            self.check(f"{injection} at call {number}", out)
        return len(stops)


    def power_cuts(self, count, seed, without=()):
        """States that a power cut can leave, of a run that checkpoints, drops old checkpoints and publishes.

        With `without` the syncs of files or of folders are taken to be missing: then some state must fail.
        """
        self.is_control = bool(without)
        out, log = self.folder / "cut", self.folder / "cut.txt"
        self.run(out, before=power_cut.strace(log))
        promised, states, seen = None, [], set()
        truth = power_cut.replay(log, out, Path.cwd())
        for (name, disk), (_, full) in zip(power_cut.replay(log, out, Path.cwd(), without), truth):
            # What a sync of the folder has covered was reported as saved.
            steps = [int(match.group(1)) for match in
                     (re.match(rf"{re.escape(str(out))}/checkpoints/step-(\d+)$", path) for path in full.durable) if match]
            promised = max(steps, default=None)
            for word, state in disk.states():
                key = hash((promised, *sorted((path, bytes(data or b"")) for path, data in state.items())))
                if key not in seen:
                    seen.add(key)
                    states.append((f"{word} after {name}", promised, state))
        shutil.rmtree(out)
        chosen = random.Random(seed).sample(states, min(count, len(states)))
        failures = []
        for word, promised, state in chosen:
            found = self.folder / "found"
            power_cut.lay_out({path: data for path, data in state.items()}, out, found)
            found.mkdir(exist_ok=True)
            before = len(self.failures)
            step = self.published(found)
            if promised is not None and not (found / "run.json").exists() and (step or 0) < promised:
                self.fail(f"power cut: {word}", f"checkpoint {promised} was lost")
            self.check(f"power cut: {word}", found)
            if len(self.failures) > before:
                failures.append(word)
            shutil.rmtree(found, ignore_errors=True)
            if failures and without:
                del self.failures[before:]
                break
        self.is_control = False
        return len(states), failures

    def flipped_bits(self, count, seed):
        """One bit of the newest checkpoint: it must be found out, and the one before it used."""
        draw, whole = random.Random(seed), self.folder / "stopped"
        self.run(whole, "--max-steps", "8")
        for trial in range(count):
            out = self.folder / "flipped"
            shutil.copytree(whole, out)
            file = draw.choice(sorted((out / "checkpoints/step-000008").iterdir()))
            content = bytearray(file.read_bytes())
            bit = draw.randrange(8 * len(content))
            content[bit // 8] ^= 1 << bit % 8
            file.write_bytes(content)
            done, name = self.run(out, "--resume"), f"bit {bit} of {file.name}"
            if done.returncode != 0 or "step-000008 is damaged" not in done.stderr:
                self.fail(name, f"not found out: {done.returncode} {done.stderr[-200:]}")
            elif self.result(out) != self.expected:
                self.fail(name, "the result is another one")
            elif json.loads((out / "run.json").read_text(encoding="utf-8"))["resumed_from"] != 6:
                self.fail(name, "it did not go on from the checkpoint before")
            shutil.rmtree(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--espalier", default=".build/release/espalier")
    parser.add_argument("--kills", type=int, default=200, help="random ones")
    parser.add_argument("--every", type=int, default=1, help="sweep every n-th system call")
    parser.add_argument("--states", type=int, default=1500, help="states after a power cut")
    parser.add_argument("--bits", type=int, default=200, help="flipped bits of a checkpoint")
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="espalier-torture-") as folder:
        torture = Torture(options.espalier, folder, options.epochs)
        torture.whole()
        torture.random_kills(options.kills, options.seed)
        print(f"{options.kills} random kills, {len(torture.failures)} failures", flush=True)
        if shutil.which("strace") is None:
            sys.exit("strace is not installed, so no system call was stopped: apt-get install strace")
        for injection in ["signal=SIGKILL", "error=ENOSPC", "error=EIO"]:
            before = len(torture.failures)
            count = torture.sweep(injection, options.every)
            print(f"{injection} at {count} system calls, {len(torture.failures) - before} failures", flush=True)
        count, failed = torture.power_cuts(options.states, options.seed)
        print(f"{min(count, options.states)} of {count} states after a power cut, {len(failed)} failures", flush=True)
        for missing in ["files", "folders"]:
            _, failed = torture.power_cuts(options.states, options.seed, without=(missing,))
            print(f"control: without the syncs of {missing}: {'fails' if failed else 'PASSES'}", flush=True)
            if not failed:
                torture.failures.append(f"control {missing}")
        before = len(torture.failures)
        torture.flipped_bits(options.bits, options.seed)
        print(f"{options.bits} flipped bits, {len(torture.failures) - before} failures", flush=True)
    sys.exit(1 if torture.failures else 0)


if __name__ == "__main__":
    main()
