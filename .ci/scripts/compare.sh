#!/usr/bin/env bash
# The same training here and with PyTorch, transformers, PEFT and TRL, one after the other: 1,000 rows of
# banking77 for one epoch, then bare training steps of fixed shapes. Nothing else should run meanwhile; two busy threads
# of somebody else's slow PyTorch down tenfold. Results: runs/compare/results.jsonl, one line of JSON each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=.venv-interop
python=$venv/bin/python
espalier=.build/release/espalier
work=runs/compare
results=$work/results.jsonl

make --no-print-directory setup build
.ci/scripts/python-environment.sh "$venv" compare
folder=$(.ci/scripts/base-folder.sh "$python")
export HF_HUB_OFFLINE=1
mkdir -p "$work"
: >"$results"
compare() { "$python" .ci/scripts/compare.py "$@" 2>>"$work/log.txt" | tee -a "$results"; }

load=$(cut -d ' ' -f 1 /proc/loadavg)
awk -v load="$load" 'BEGIN { exit !(load > 0.5) }' && echo "warning: this machine is busy (load $load)" >&2

compare rows --data recipes/data/banking77/train.csv --out "$work/train.csv"
"$espalier" train recipes/finance/banking77-intents.yaml --fresh --threads 2 --out "$work/espalier" \
  --set "data.train=$PWD/$work/train.csv"
compare espalier --metrics "$work/espalier/metrics.jsonl"
compare trl --base "$folder" --data "$work/train.csv" --out "$work/trl"
[ -z "${FULL:-}" ] || compare trl --dtype f32 --base "$folder" --data "$work/train.csv" --out "$work/trl-f32"

if "$espalier" bench --help >/dev/null 2>&1; then "$espalier" bench step --json | tee -a "$results"; fi
for shape in 8x256 2x1024; do
  for dtype in bf16 f32; do compare loop --base "$folder" --shape "$shape" --dtype "$dtype"; done
done

echo
"$python" .ci/scripts/compare.py summary --results "$results"
