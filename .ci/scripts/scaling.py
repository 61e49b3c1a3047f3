"""Measures what a training step on one sequence costs as the sequence grows, and draws it.

Points are kept in runs/scaling/points.jsonl as they are measured, so an interrupted run goes on; a length whose step
does not fit this machine is left out. `--draw` only draws.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

POINTS = Path("runs/scaling/points.jsonl")
PICTURE = Path("Sources/Models/Models.docc/Resources/cost-of-length.svg")
LENGTHS = [128, 256, 512, 1024, 2048, 4096, 8192]
MODELS = {"smollm2-135m": ("#1f6f8b", "135M (SmolLM2)"), "llama-1.1b": ("#b5542c", "1.1B (Llama)")}
PANELS = [("Seconds per step", lambda point: point["step_seconds"]),
          ("Peak memory, GiB", lambda point: point["peak_bytes"] / 2**30)]


def measure(espalier):
    POINTS.parent.mkdir(parents=True, exist_ok=True)
    known = {(point["model"], point["tokens_per_row"]) for point in points()}
    for model in MODELS:
        for length in LENGTHS:
            if (model, length) in known:
                continue
            print(f"{model}, {length} tokens", file=sys.stderr)
            done = subprocess.run(
                [espalier, "bench", "step", "--model", model, "--rows", "1", "--tokens-per-row", str(length), "--json"],
                stdout=subprocess.PIPE, text=True)
            if done.returncode != 0:
                print(f"  left out: exit status {done.returncode}", file=sys.stderr)
                continue
            with open(POINTS, "a", encoding="utf-8") as file:
                file.write(json.dumps(json.loads(done.stdout)) + "\n")


def points():
    if not POINTS.exists():
        return []
    return [json.loads(line) for line in POINTS.read_text(encoding="utf-8").splitlines()]


def ticks(low, high):
    """Powers of ten and their 2 and 5 fold inside a range."""
    first = math.floor(math.log10(low))
    values = [factor * 10.0**power for power in range(first, math.ceil(math.log10(high)) + 1) for factor in (1, 2, 5)]
    return [value for value in values if low <= value <= high]


def panel(measured, title, value, left):
    """One panel with logarithmic axes, 360 wide, as SVG elements."""
    top, width, height = 50, 300, 240
    values = [value(point) for point in measured]
    low, high = min(values) / 1.3, max(values) * 1.3

    def x(length):
        return left + width * math.log2(length / LENGTHS[0]) / math.log2(LENGTHS[-1] / LENGTHS[0])

    def y(number):
        return top + height * (1 - math.log(number / low) / math.log(high / low))

    parts = [f'<text x="{left}" y="{top - 18}" class="title">{title}</text>']
    for number in ticks(low, high):
        parts.append(f'<line x1="{left}" y1="{y(number):.1f}" x2="{left + width}" y2="{y(number):.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 8}" y="{y(number) + 4:.1f}" text-anchor="end">{number:g}</text>')
    for length in LENGTHS:
        parts.append(f'<text x="{x(length):.1f}" y="{top + height + 20}" text-anchor="middle">{length}</text>')
    middle = left + width / 2
    parts.append(f'<text x="{middle}" y="{top + height + 44}" text-anchor="middle">tokens of the sequence</text>')
    parts.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" class="frame"/>')
    for model, (colour, name) in MODELS.items():
        own = sorted((point for point in measured if point["model"] == model), key=lambda p: p["tokens_per_row"])
        if not own:
            continue
        places = [(x(point["tokens_per_row"]), y(value(point))) for point in own]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in places]
        a, b = places[len(places) // 2]
        parts.append(f'<text x="{a - 8:.1f}" y="{b - 10:.1f}" text-anchor="end" style="fill:{colour}">{name}</text>')
    return parts


def draw():
    measured = [point for point in points() if point["tokens_per_row"] in LENGTHS]
    if not measured:
        sys.exit("error: nothing is measured yet")
    parts = []
    for index, (title, value) in enumerate(PANELS):
        parts += panel(measured, title, value, 60 + 370 * index)
    style = ("text{font:13px sans-serif;fill:#444} .title{font-weight:600;fill:#222} .grid{stroke:#ddd} "
             ".frame{fill:none;stroke:#888}")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 350" role="img" '
        'aria-label="Time and memory of a training step against the length of the sequence">\n'
        f'<style>{style}</style>\n<rect width="760" height="350" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n",
        encoding="utf-8")
    print(PICTURE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--espalier", default=".build/release/espalier")
    parser.add_argument("--draw", action="store_true", help="draw what is measured already")
    options = parser.parse_args()
    if not options.draw:
        measure(options.espalier)
    draw()


if __name__ == "__main__":
    main()
