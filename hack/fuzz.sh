#!/usr/bin/env bash
# Fuzzes every target of the repository in turn, each for FUZZTIME (3s if not set). Go keeps what it finds interesting in its cache,
# and an input that fails in the package's testdata: commit that with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-3s}
targets=0

# Up to Go 1.26, the end of -fuzztime may itself be reported as the failure (go.dev/issue/75804). That says one line, and no more:
# whatever else fails names an input, a stack or a reason.
endedAtItsTime() {
  [[ $(sed -n '/^--- FAIL/,/^FAIL$/p' <<<"$1" | sed '1d;$d') == '    context deadline exceeded' ]] && ! grep -q 'Failing input written' <<<"$1"
}

while IFS=: read -r file target; do
  targets=$((targets + 1))
  printf '%-34s %-40s ' "$(dirname "$file")" "$target"
  if ! out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")" 2>&1) && ! endedAtItsTime "$out"; then
    printf 'FAILED\n%s\n' "$out" >&2
    exit 1
  fi
  # A busy machine may get no further than the known inputs in so short a time.
  grep -oE 'execs: [0-9]+' <<<"$out" | tail -1 || echo 'the known inputs alone'
done < <(git ls-files '*_test.go' | xargs grep -oE '^func Fuzz[A-Za-z]+' | sed 's/func //' | sort)
echo "$targets targets, $time each"
