#!/usr/bin/env bash
# All tests that need nothing but Go. The race detector needs a C compiler with its headers: a machine without one runs
# the same tests without it, and the last line says so.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

race=() how="without -race (no C compiler, or cgo is off)"
cc=$(go env CC)
cc=${cc%% *}
if [[ $(go env CGO_ENABLED) != 0 ]] && command -v "$cc" >/dev/null &&
  echo '#include <stdlib.h>' | "$cc" -x c -c -o /dev/null - 2>/dev/null; then
  race=(-race) how="with -race"
fi

if go test "${race[@]}" -timeout 15m ./...; then
  echo "test: passed, $how"
else
  status=$?
  echo "test: FAILED, $how"
  exit "$status"
fi
