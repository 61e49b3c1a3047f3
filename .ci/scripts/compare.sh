#!/usr/bin/env bash
# The same work here and with PyTorch, transformers, PEFT and TRL, in turn; prints one table. Nothing else should run
# meanwhile: two busy threads of somebody else's slow PyTorch down tenfold.
#
# ONLY=banking77,8x256 runs these parts, RUNS=5 repeats each measurement five times, FRESH=1 forgets what was measured,
# MAX_STEPS=2 is a trial of the script itself. What is in runs/compare/results.jsonl already is not measured again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=${VENV:-.venv-interop}
make --no-print-directory setup build
if [ -n "${VENV:-}" ]; then python=$venv/bin/python; else
  .ci/scripts/python-environment.sh "$venv" compare
  python=$venv/bin/python
fi
folder=${HF_BASE:-$(.ci/scripts/base-folder.sh "$python")}
export HF_HUB_OFFLINE=1
exec "$python" .ci/scripts/compare.py --base "$folder" --runs "${RUNS:-3}" ${ONLY:+--only "$ONLY"} \
  ${FRESH:+--fresh} ${MAX_STEPS:+--max-steps "$MAX_STEPS"} ${LIMIT:+--limit "$LIMIT"}
