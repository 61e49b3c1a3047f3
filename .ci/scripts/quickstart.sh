#!/usr/bin/env bash
# From a clean clone to a trained adapter and what it is worth: set up, build, fetch a base model, look at the data as
# the model sees it, train, evaluate base and adapter side by side, and ask it something.
# BASE=path (a GGUF file or a model folder) replaces the model that is fetched. FRESH=1 trains again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

recipe=recipes/finance/banking77-quickstart.yaml
run=runs/banking77-quickstart
adapter=$run/adapter
espalier=.build/release/espalier
base=models/smollm2-135m-instruct/model.gguf
overrides=()
if [ -n "${BASE:-}" ]; then
  base=$(realpath -e -- "$BASE") || exit 66
  overrides=(--set "base=$base")
  [ -z "${BASE_NAME:-}" ] || overrides+=(--set "base_name=$BASE_NAME")
fi

started=$SECONDS
step() {
  local from=$SECONDS title=$1
  shift
  printf '\n== %s\n   %s\n\n' "$title" "$*"
  "$@" </dev/null
  printf '\n   (%d s)\n' $((SECONDS - from))
}

step "Checking what is needed" make --no-print-directory setup
step "Building (the longest step the first time)" make --no-print-directory build
[ -n "${BASE:-}" ] || step "Fetching the base model" make --no-print-directory fetch-base
step "A row as the model sees it, and what all rows come to" "$espalier" preview "$recipe" --rows 1 "${overrides[@]}"

if [ -n "${FRESH:-}" ]; then
  step "Training" "$espalier" train "$recipe" --fresh "${overrides[@]}"
elif grep -qs '"done": *true' "$run/metrics.jsonl"; then
  printf '\n== %s holds a finished run, which is kept. FRESH=1 make quickstart trains again.\n' "$run"
elif [ -e "$run" ]; then
  step "Training on from where it was interrupted" "$espalier" train "$recipe" --resume "${overrides[@]}"
else
  step "Training" "$espalier" train "$recipe" "${overrides[@]}"
fi
step "Base and adapter on messages that neither was trained on" \
  "$espalier" evaluate "$recipe" --adapter "$adapter" "${overrides[@]}"
step "One message (examples/banking77-message.json), with the adapter" \
  "$espalier" generate --base "$base" --adapter "$adapter" --messages examples/banking77-message.json --max-tokens 32

cat <<EOF

== Done in $((SECONDS - started)) s. The adapter is in $adapter (PEFT layout); $run/run.json says how it came about.

What to try next:
  $espalier inspect $adapter
  $espalier plan recipes/finance/banking77-intents.yaml       all 77 intents: what it would take
  $espalier train recipes/finance/banking77-intents.yaml
  make interop                                                the same numbers from PyTorch and PEFT
Your own records: copy $recipe and change base, data and out.
EOF
