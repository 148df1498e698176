#!/usr/bin/env bash
# Runs every fuzz target of the tree for some time, one after the other.
#   hack/fuzz.sh TIME [RESULT.md]     e.g. hack/fuzz.sh 20s
# Prints a line each; with RESULT.md also writes them there with date, commit and machine. Fails if any target does.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

time=${1:?usage: hack/fuzz.sh TIME [RESULT.md]} result=${2:-}
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

# peak watches the memory of the fuzz workers of our process group while a target runs and keeps the largest seen (kB).
peak() {
  local group pid kb max=0
  group=$(ps_group self)
  trap 'kill $!; exit' TERM # the sleep goes with its watcher
  while sleep 2 & wait $!; do
    for pid in /proc/[0-9]*; do
      [[ $(ps_group "${pid#/proc/}") == "$group" ]] || continue
      grep -qz -- -test.fuzzworker "$pid/cmdline" 2>/dev/null || continue
      kb=$(awk '/^VmHWM:/ {print $2}' "$pid/status" 2>/dev/null)
      if ((${kb:-0} > max)); then
        max=$kb
        echo "$max" >"$log/peak"
      fi
    done
  done
}
ps_group() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f3; }

rows=() failed=0 count=0
while IFS=: read -r file target; do
  pkg=./$(dirname "${file#./}")
  count=$((count + 1))
  echo 0 >"$log/peak"
  peak &
  watcher=$!
  if go test "$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "$time" >"$log/out" 2>&1; then
    verdict=ok
  else
    verdict=FAILED failed=$((failed + 1))
    tail -n 40 "$log/out"
  fi
  kill "$watcher" 2>/dev/null
  wait "$watcher" 2>/dev/null
  execs=$(grep -o 'execs: [0-9]*' "$log/out" | tail -n 1 | cut -d' ' -f2)
  row=$(printf '| %-22s | %-32s | %-6s | %11s | %6s |' "${pkg#./}" "$target" "$verdict" "${execs:-0}" "$(($(<"$log/peak") / 1024))")
  echo "$row"
  rows+=("$row")
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func /:/' | sort)

if [[ -n $result ]]; then
  {
    echo "# Fuzzing"
    echo
    echo "\`make fuzz\`, $time a target, $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD 2>/dev/null || echo none)," \
      "$(nproc) cores, $(go version | cut -d' ' -f3-), Linux $(uname -r | cut -d- -f1)."
    echo
    echo "| package | target | result | executions | peak memory of a worker, MB |"
    echo "|---|---|---|---:|---:|"
    printf '%s\n' "${rows[@]}"
  } >"$result.new" && mv "$result.new" "$result"
fi
echo "fuzz: $((count - failed)) of $count targets found nothing in $time each"
((failed == 0 && count > 0))
