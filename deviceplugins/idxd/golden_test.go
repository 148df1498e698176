package idxd_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/idxd"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// host is a tree and the two families that look at it.
type host struct {
	root     *hostfs.Root
	families []*idxd.Family
	logs     *test.Hook
}

// newHost makes the tree of a golden file; a line "flags: …" in its head is what the user gave.
func newHost(t testing.TB, name string, more ...string) *host {
	t.Helper()
	root, flags := familytest.Golden(t, name, hostfstest.PlainNodes())
	return lookAt(t, root, append(flags, more...)...)
}

func lookAt(t testing.TB, root *hostfs.Root, flags ...string) *host {
	t.Helper()
	log, logs := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	h := &host{root: root, logs: logs}
	for kind, o := range options(t, flags...) {
		h.families = append(h.families, idxd.New(idxd.Config{Root: root, Log: log}, kind, o))
	}
	slices.SortFunc(h.families, func(a, b *idxd.Family) int { return strings.Compare(a.Name(), b.Name()) })
	return h
}

// options are those of both kinds after a command line.
func options(t testing.TB, flags ...string) map[idxd.Kind]idxd.Options {
	t.Helper()
	dsa, iaa := idxd.DefaultOptions(), idxd.DefaultOptions()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	dsa.AddFlags(set, idxd.DSA)
	iaa.AddFlags(set, idxd.IAA)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return map[idxd.Kind]idxd.Options{idxd.DSA: dsa, idxd.IAA: iaa}
}

// scan looks once with both families.
func (h *host) scan(t testing.TB) ([]familytest.Device, []plugin.Skipped) {
	t.Helper()
	var all []plugin.Inventory
	var skipped []plugin.Skipped
	for _, f := range h.families {
		inv, more := familytest.Scan(t, f)
		all, skipped = append(all, inv), append(skipped, more...)
	}
	return familytest.Devices(all...), skipped
}

// ids are the ids offered, by resource.
func (h *host) ids(t testing.TB) map[string][]string {
	t.Helper()
	list, _ := h.scan(t)
	ids := map[string][]string{}
	for _, a := range list {
		ids[a.Resource] = append(ids[a.Resource], a.ID)
	}
	return ids
}

// Every tree: what discover prints (NAME.json), and what it leaves out, what doctor says, what is read every 5 s (NAME.txt).
func TestGoldenTrees(t *testing.T) {
	familytest.EachTree(t, "testdata", 1, func(t *testing.T, name string) {
		h := newHost(t, name)
		list, skipped := h.scan(t)
		familytest.Compare(t, "testdata/"+name+".json", familytest.JSON(t, list))
		familytest.Compare(t, "testdata/"+name+".txt", h.words(t, skipped))
	})
}

func (h *host) words(t *testing.T, skipped []plugin.Skipped) string {
	t.Helper()
	text := familytest.Lines("left out", skipped)
	for _, f := range h.families {
		text += familytest.Lines("passed over", f.PassedOver(t.Context())) +
			familytest.Findings("doctor "+f.Name(), "\t", f.Diagnose(t.Context())) +
			familytest.Lines("watched", f.Watch().Values)
	}
	for _, entry := range h.logs.AllEntries() {
		text += fmt.Sprintf("%s: %s\n", entry.Level, entry.Message)
	}
	return strings.ReplaceAll(text, h.root.Dir()+"/", "/")
}
