package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"io/fs"
)

func lcs(a, b string) int {
	best := 0
	prev := make([]int, len(b)+1)
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		for j := range len(b) {
			if a[i] == b[j] {
				cur[j+1] = prev[j] + 1
				best = max(best, cur[j+1])
			}
		}
		prev = cur
	}
	return best
}

func TestCandidates(t *testing.T) {
	src := os.Getenv("MSGS")
	if src == "" { t.Skip() }
	data, _ := os.ReadFile(src)
	emit := said(t, "..")
	type tl struct { test string; lits []string }
	var tests []tl
	filepath.WalkDir("..", func(p string, e fs.DirEntry, err error) error {
		if e.IsDir() {
			if e.Name() == ".git" { return fs.SkipDir }
			c, err := readCode(p)
			if err != nil { t.Log(err); return nil }
			for name := range c.decls {
				if strings.HasPrefix(name, "Test") {
					tests = append(tests, tl{strings.TrimPrefix(p, "../") + " " + name, textsOf(c.reached(name))})
				}
			}
		}
		return nil
	})
	for _, line := range strings.Split(string(data), "\n") {
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") { fmt.Println(line); continue }
		m := Message(line)
		fmt.Println("==", line)
		for _, p := range pieces(m) {
			if !strings.Contains(emit, p) { fmt.Printf("   NOT EMITTED: %q\n", p) }
		}
		type cand struct { n int; s string }
		var cs []cand
		for _, x := range tests {
			b := 0; lit := ""
			for _, l := range x.lits {
				if len(l) > 4000 { continue }
				for _, f := range m.Fixed() {
					v := lcs(f, strings.ReplaceAll(l, `\`, ""))
					if v > b { b = v; lit = l }
				}
			}
			longest := 0
			for _, f := range m.Fixed() { longest = max(longest, len(f)) }
			if b >= min(16, longest) { cs = append(cs, cand{b, fmt.Sprintf("%s  %.110q", x.test, lit)}) }
		}
		sort.Slice(cs, func(i, j int) bool { if cs[i].n != cs[j].n { return cs[i].n > cs[j].n }; return len(cs[i].s) < len(cs[j].s) })
		for k, c := range cs { if k < 4 { fmt.Printf("   %d %s\n", c.n, c.s) } }
		if len(cs) == 0 { fmt.Println("   NO TEST") }
	}
	_ = regexp.MustCompile
}

func pieces(m Message) []string {
	var all []string
	for _, f := range m.Fixed() {
		for _, p := range regexp.MustCompile(`: |; |\(`).Split(f, -1) {
			if p = strings.TrimSpace(p); p != "" && p != ")" { all = append(all, p) }
		}
	}
	return all
}
