#!/usr/bin/env bash
# Runs every fuzz target of the tree for some time.
#   hack/fuzz.sh TIME [RESULT.md]     e.g. hack/fuzz.sh 20s
# FUZZ_JOBS targets run side by side (default 1: one after the other, on all cores); with more than one each has one
# worker. Prints a line a target; with RESULT.md also writes them there with date, commit and machine. Fails if any does.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

export FUZZ_TIME=${1:?usage: hack/fuzz.sh TIME [RESULT.md]} FUZZ_JOBS=${FUZZ_JOBS:-1}
result=${2:-}
FUZZ_LOG=$(mktemp -d)
export FUZZ_LOG
trap 'rm -rf "$FUZZ_LOG"' EXIT

# peak keeps the largest memory (kB) that a worker of one target had: they inherit INLAY_FUZZ.
peak() { # id, file
  local pid kb max=0
  trap 'kill $! 2>/dev/null; exit' TERM # the sleep goes with its watcher
  while sleep 2 & wait $!; do
    for pid in /proc/[0-9]*; do
      grep -qz -- -test.fuzzworker "$pid/cmdline" 2>/dev/null || continue
      grep -qzx "INLAY_FUZZ=$1" "$pid/environ" 2>/dev/null || continue
      kb=$(awk '/^VmHWM:/ {print $2}' "$pid/status" 2>/dev/null)
      if ((${kb:-0} > max)); then
        max=$kb
        echo "$max" >"$2"
      fi
    done
  done
}

one() { # file:target
  local file=${1%%:*} target=${1##*:} verdict=ok execs row watcher parallel=()
  local pkg id out
  pkg=$(dirname "${file#./}")
  id=$pkg.$target
  out=$FUZZ_LOG/${id//\//-}
  echo 0 >"$out.peak"
  peak "$id" "$out.peak" &
  watcher=$!
  ((FUZZ_JOBS > 1)) && parallel=(-parallel 1)
  if ! INLAY_FUZZ=$id go test "./$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZ_TIME" "${parallel[@]}" >"$out" 2>&1; then
    verdict=FAILED
    tail -n 40 "$out"
  fi
  kill "$watcher" 2>/dev/null
  wait "$watcher" 2>/dev/null
  execs=$(grep -o 'execs: [0-9]*' "$out" | tail -n 1 | cut -d' ' -f2)
  row=$(printf '| %-22s | %-20s | %-6s | %11s | %6s |' "$pkg" "$target" "$verdict" "${execs:-0}" "$(($(<"$out.peak") / 1024))")
  echo "$row" | tee "$out.row"
}
export -f one peak

grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func /:/' | sort |
  xargs -P "$FUZZ_JOBS" -I '{}' bash -c 'one "$1"' one '{}'

count=$(cat "$FUZZ_LOG"/*.row 2>/dev/null | wc -l)
failed=$(cat "$FUZZ_LOG"/*.row 2>/dev/null | grep -c FAILED)
if [[ -n $result ]]; then
  {
    echo "# Fuzzing"
    echo
    echo "\`make fuzz\`, $FUZZ_TIME a target, $FUZZ_JOBS side by side, $(date -u +%Y-%m-%d)," \
      "commit $(git rev-parse --short HEAD 2>/dev/null || echo none)," \
      "$(nproc) cores, $(go version | cut -d' ' -f3-), Linux $(uname -r | cut -d- -f1)."
    echo
    echo "| package | target | result | executions | peak memory of a worker, MB |"
    echo "|---|---|---|---:|---:|"
    cat "$FUZZ_LOG"/*.row
  } >"$result.new" && mv "$result.new" "$result"
fi
echo "fuzz: $((count - failed)) of $count targets found nothing in $FUZZ_TIME each"
((failed == 0 && count > 0))
