package npu

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// parse gives the options that flags make of the defaults.
func parse(t testing.TB, flags ...string) Options {
	t.Helper()
	o := DefaultOptions()
	familytest.Parse(t, &o, flags...)
	return o
}

// golden makes a tree of testdata and gives the options that its first lines name.
func golden(t testing.TB, name string, opts ...hostfstest.Option) (*hostfs.Root, Options) {
	t.Helper()
	root, flags := familytest.Golden(t, name, opts...)
	return root, parse(t, flags...)
}

func family(root *hostfs.Root, o Options) *Family {
	log, _ := test.NewNullLogger()
	return New(Config{Root: root, Log: log}, o)
}

// Beside each tree lie what discover prints of it, and what is left out and what the doctor finds.
func TestGoldenTrees(t *testing.T) {
	familytest.EachTree(t, "testdata", 8, func(t *testing.T, name string) {
		root, o := golden(t, name)
		f := family(root, o)
		inv, skipped := familytest.Scan(t, f)
		words := familytest.Lines("left out", skipped) + familytest.Lines("passed over", f.PassedOver(t.Context())) +
			familytest.Findings("doctor", "  ", f.Diagnose(t.Context()))
		familytest.Compare(t, "testdata/"+name+".json", familytest.JSON(t, familytest.Devices(inv)))
		familytest.CompareOrNone(t, "testdata/"+name+".txt", strings.ReplaceAll(words, root.Dir(), ""))

		plain, _ := golden(t, name, hostfstest.PlainNodes())
		again, _, err := family(plain, o).Scan(t.Context())
		if diff := cmp.Diff(inv, again); err == nil && diff != "" && name != "broken" {
			t.Errorf("with ordinary files for nodes (-want +got):\n%s", diff)
		}
	})
}
