"""Makes pairs of a right and a nearly right intent from banking77: recipes/data/banking77/pairs-{train,test}.csv.

The wrong intent of a message is one of the five whose training messages share most words with those of the right one, so
that it is plausible. The first 20 messages of every intent in train.csv and the first 4 in test.csv are taken.
"""

import csv
import hashlib
import re
from collections import Counter, defaultdict
from pathlib import Path

FOLDER = Path("recipes/data/banking77")


def rows(name):
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main():
    words = defaultdict(Counter)
    for row in rows("train.csv"):
        words[row["category"]].update(set(re.findall(r"[a-z]+", row["text"].lower())))
    near = {}
    for label, own in words.items():
        def overlap(other):
            return sum(min(count, words[other][word]) for word, count in own.items() if len(word) > 3)
        near[label] = sorted((other for other in words if other != label), key=lambda other: (-overlap(other), other))[:5]
    for name, most in [("train", 20), ("test", 4)]:
        taken = Counter()
        with (FOLDER / f"pairs-{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["text", "chosen", "rejected"])
            for row in rows(f"{name}.csv"):
                label = row["category"]
                taken[label] += 1
                if taken[label] > most:
                    continue
                choice = hashlib.sha256(row["text"].encode()).digest()[0] % 5
                writer.writerow([row["text"], label, near[label][choice]])


if __name__ == "__main__":
    main()
