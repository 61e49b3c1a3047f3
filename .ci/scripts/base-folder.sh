#!/usr/bin/env bash
# base-folder.sh PYTHON: the quick start's base model as a Hugging Face folder, made once; prints its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=$1 gguf=models/smollm2-135m-instruct/model.gguf folder=models/smollm2-135m-instruct-f32

.ci/scripts/fetch-base.sh >&2
if [ ! -e "$folder/config.json" ]; then
  echo "Converting $gguf to a Hugging Face folder, $folder" >&2
  rm -rf "$folder.partial"
  "$python" .ci/scripts/gguf_to_hf.py "$gguf" "$folder.partial" >&2
  mv "$folder.partial" "$folder"
fi
echo "$folder"
