#!/usr/bin/env bash
# Builds the fuzzer, Swift and C with the address sanitizer, and runs it on one kind of input or on all in turn. What it
# finds (crash-*, timeout-*, oom-*) stays in .build-fuzz/findings/KIND.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export ESPALIER_FUZZER=1
swift build -c release --product espalier-fuzzer --scratch-path .build-fuzz --sanitize=address \
  -Xswiftc -sanitize=fuzzer -Xswiftc -parse-as-library -Xswiftc -use-ld=lld -Xcc -fsanitize=fuzzer-no-link

program=$PWD/.build-fuzz/release/espalier-fuzzer
# Asked for a kind that there is not, it names those that there are.
kinds=${INPUT:-$(ESPALIER_FUZZ_INPUT='' "$program" 2>&1 | sed -n '/is none of/ { s/.*is none of //; s/,//g; p; q }' || true)}
failed=0
for kind in $kinds; do
  findings=.build-fuzz/findings/$kind
  mkdir -p "$findings" ".build-fuzz/corpus/$kind"
  printf '== %s\n' "$kind"
  # 2 s for an input of this size is the limit that is promised.
  ESPALIER_FUZZ_INPUT=$kind ESPALIER_FUZZ_CORPUS=.build-fuzz/corpus/$kind ASAN_OPTIONS=detect_leaks=0 \
    "$program" -max_total_time="${SECONDS_EACH:-60}" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="$findings/" ".build-fuzz/corpus/$kind" 2>&1 | grep -E '^(stat::number|==|ERROR|SUMMARY|artifact)' || true
  [ -z "$(ls "$findings")" ] || failed=1
done
exit $failed
