#!/usr/bin/env bash
# What must hold for every commit, besides the tests. Each check says what is wrong and how to put it right.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

failed=0
check() { # name, way out, output of the check (empty = fine)
  if [[ -z $3 ]]; then
    echo "verify: $1: ok"
    return
  fi
  echo "verify: $1: FAILED; $2"
  head -n 40 <<<"$3" | sed 's/^/    /'
  failed=1
}

# Tracked files and those that are about to be.
files() { git ls-files --cached --others --exclude-standard --deduplicate -- "$@" | while read -r f; do [[ -f $f ]] && echo "$f"; done; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

check gofmt "run: make fmt" "$(files '*.go' | grep -v /testdata/ | xargs -r gofmt -l 2>&1)"

out=$(go vet ./... 2>&1 && go vet -tags integration ./... 2>&1) && out=
check "go vet" "see the messages" "$out"

out=$(go mod tidy -diff 2>&1) && out=
check go.mod "run: go mod tidy" "$out"

# inlay-hook starts for every container with an FPGA, as root on the host: nothing but Go's own libraries in it.
check "inlay-hook's packages" "the hook is made of the standard library and golang.org/x/sys" \
  "$(go list -deps -f '{{if not .Standard}}{{.ImportPath}}{{end}}' ./oci-hook 2>&1 | grep -vE "^(golang\.org/x/sys/|$(go list -m)(/|\$))")"

# What renders and judges manifests is for tests.
check "no manifest tools in programs" "import them in tests alone" \
  "$(go list -deps ./deviceplugins ./nri-plugin ./oci-hook ./webhook ./fpga/cmd/... 2>&1 |
    grep -E '^(helm\.sh/|sigs\.k8s\.io/kustomize/|k8s\.io/(pod-security-admission|apiextensions-apiserver|apiserver)(/|$))')"

# Generated files are written anew in a copy, so that a check never changes the tree.
if files '*.go' | xargs -r grep -ql '^//go:generate'; then
  files | tar -cf - -T - | tar -xf - -C "$scratch"
  if out=$(cd "$scratch" && go generate ./... 2>&1); then
    out=$(files | while read -r f; do cmp -s "$f" "$scratch/$f" || echo "$f is stale"; done)
  fi
  check "generated files" "run: make generate" "$out"
else
  check "generated files" "" ""
fi

# Written so that this file does not find itself.
marks='TO[D]O|FIX[M]E|X[X]X:|^<{7} |^>{7} '
check "open ends" "finish them, or file an issue" \
  "$(files | grep -Ev '/testdata/|^LICENSE$|^go\.sum$|^\.golangci\.yml$' | xargs -r grep -nIE "$marks" 2>/dev/null)"

# Every relative link of the documentation leads to a file.
check "links" "mend them" "$(files '*.md' | while read -r md; do
  grep -oE '\]\([^)# ]+' "$md" | cut -c3- | grep -vE '^[a-z]+:' | while read -r link; do
    [[ -e $(dirname "$md")/$link ]] || echo "$md: $link"
  done
done)"

# Every make target that the documentation names exists.
check "make targets" "mend the text" "$(files '*.md' | xargs -r grep -ohE '`make [a-z-]+' | sort -u | cut -d' ' -f2 |
  while read -r target; do grep -qE "^$target:" Makefile || echo "make $target"; done)"

exit "$failed"
