package familytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"golang.org/x/tools/txtar"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// Tree makes a host tree of a text; nil makes one without files.
func Tree(t testing.TB, archive []byte, opts ...hostfstest.Option) *hostfs.Root {
	t.Helper()
	dir := t.TempDir()
	if err := hostfstest.Extract(dir, archive, opts...); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// Golden makes the tree of testdata/NAME.txtar and gives the flags in its head.
func Golden(t testing.TB, name string, opts ...hostfstest.Option) (root *hostfs.Root, flags []string) {
	t.Helper()
	archive, err := os.ReadFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(txtar.Parse(archive).Comment)) {
		if given, ok := strings.CutPrefix(line, "flags: "); ok {
			flags = strings.Fields(given)
		}
	}
	return Tree(t, archive, opts...), flags
}

// EachTree runs a test for every tree of a folder, under the name of the tree. Fewer than least of them are a mistake.
func EachTree(t *testing.T, dir string, least int, test func(t *testing.T, name string)) {
	t.Helper()
	trees, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(trees) < least {
		t.Fatalf("%d trees in %s, %v", len(trees), dir, err)
	}
	for _, tree := range trees {
		name := strings.TrimSuffix(filepath.Base(tree), ".txtar")
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// Options are those of a family.
type Options interface {
	AddFlags(f *pflag.FlagSet)
	Validate() error
}

// Parse changes options as flags say, which have to be right.
func Parse(t testing.TB, o Options, flags ...string) {
	t.Helper()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.AddFlags(set)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
}
