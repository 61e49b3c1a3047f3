#!/usr/bin/env bash
# Compares this engine with PyTorch, transformers and PEFT on the quick start's base model, in both directions:
# PEFT loads an adapter that `espalier train` wrote, and Espalier loads one that PEFT wrote. Each time every logit, the
# loss and every gradient are compared, once with the GGUF file as the base and once with a Hugging Face folder.
# ADAPTER=path takes another adapter on this base. The first run downloads about 250 MB of Python packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=.venv-interop
python=$venv/bin/python
espalier=.build/release/espalier
recipe=recipes/finance/banking77-quickstart.yaml
gguf=models/smollm2-135m-instruct/model.gguf
vectors=Tests/Fixtures/real/smollm2_135m_instruct/vectors.json
work=runs/interop

make --no-print-directory setup build
.ci/scripts/python-environment.sh "$venv" interop
folder=$(.ci/scripts/base-folder.sh "$python")
export HF_HUB_OFFLINE=1 # everything that is loaded is local

"$python" .ci/scripts/interop.py check-base --base "$folder" --vectors "$vectors"

mkdir -p "$work"
ours=${ADAPTER:-runs/banking77-quickstart/adapter}
if [ ! -e "$ours/adapter_config.json" ]; then
  [ -z "${ADAPTER:-}" ] || { echo "error: $ours holds no adapter" >&2; exit 66; }
  echo "No adapter of the quick start yet, so a few steps are trained"
  "$espalier" train "$recipe" --fresh --max-steps 8 --out "$work/trained"
  ours=$work/trained/adapter
fi
rm -rf "$work/from-peft"
"$python" .ci/scripts/interop.py random-adapter --base "$folder" --out "$work/from-peft"

# The limits for float32 in Tests/Fixtures/README.md: 1e-4 of the largest value, 1e-3 for gradients.
compare() {
  local adapter=$1 expected=$2 base status
  "$python" .ci/scripts/interop.py expect --base "$folder" --adapter "$adapter" --vectors "$vectors" --out "$expected"
  for base in "$gguf" "$folder"; do
    for measured in "expected 1e-4" "expected_gradients 1e-3"; do
      read -r name tolerance <<<"$measured"
      status=0
      "$espalier" parity --json --base "$base" --adapter "$adapter" --expected "$expected/$name.safetensors" \
        --tolerance "$tolerance" >"$work/report.json" || status=$?
      "$python" .ci/scripts/interop.py summary --report "$work/report.json" --base "$base"
      [ "$status" -eq 0 ] || { echo "error: beyond $tolerance" >&2; exit "$status"; }
    done
  done
}
printf '\n== An adapter that Espalier wrote, loaded by PEFT\n'
compare "$ours" "$work/expected-ours"
printf '\n== An adapter that PEFT wrote, loaded by Espalier\n'
compare "$work/from-peft" "$work/expected-peft"
printf '\nBoth directions agree within the tolerances.\n'
