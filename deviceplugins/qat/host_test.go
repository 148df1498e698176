package qat_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/qat"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// host is a tree and the family that looks at it.
type host struct {
	*qat.Family
	t    testing.TB
	root *hostfs.Root
	logs *test.Hook
}

// newHost makes the tree of a golden file; a line "flags: …" in its head is what the user gave.
func newHost(t testing.TB, name string, more ...string) *host {
	t.Helper()
	root, flags := familytest.Golden(t, name, hostfstest.PlainNodes())
	log, logs := test.NewNullLogger()
	log.SetLevel(logrus.InfoLevel)
	family := qat.New(qat.Config{Root: root, Log: log}, options(t, append(flags, more...)...))
	return &host{Family: family, t: t, root: root, logs: logs}
}

// options are what a command line gives.
func options(t testing.TB, flags ...string) qat.Options {
	t.Helper()
	o := qat.DefaultOptions()
	familytest.Parse(t, &o, flags...)
	return o
}

// write replaces a file of the tree; "" takes it away, "-> x" makes a link.
func (h *host) write(hostPath, value string) {
	h.t.Helper()
	file := h.root.Join(hostPath)
	err := os.RemoveAll(file)
	target, link := strings.CutPrefix(value, "-> ")
	switch {
	case value == "":
	case link:
		err = errors.Join(err, os.Symlink(target, file))
	default:
		err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value), 0o644))
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// read gives a file of the tree without white space around, "" if it is not there.
func (h *host) read(hostPath string) string {
	h.t.Helper()
	b, err := os.ReadFile(h.root.Join(hostPath))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// look scans once and gives what is offered. Folders are mounted to be written to.
func look(t testing.TB, f *qat.Family) ([]familytest.Device, []plugin.Skipped) {
	t.Helper()
	inv, skipped := familytest.Scan(t, f)
	for _, devices := range inv {
		for _, d := range devices {
			for _, m := range d.Grant.Mounts {
				if m.ReadOnly {
					t.Errorf("%s: mount %+v", d.ID, m)
				}
			}
		}
	}
	return familytest.Devices(inv), skipped
}

// want compares what a scan offers, "cy 0000:6b:00.1" to a part of the reason why it is unhealthy ("" = healthy).
func (h *host) want(want map[string]string) {
	h.t.Helper()
	list, _ := look(h.t, h.Family)
	got := map[string]string{}
	for _, a := range list {
		key := strings.TrimPrefix(a.Resource, qat.Domain) + " " + a.ID
		got[key] = a.Reason
		if (a.Health == plugin.Healthy) != (a.Reason == "") {
			h.t.Errorf("%s: health %s, reason %q", key, a.Health, a.Reason)
		}
		if part := want[key]; part != "" && strings.Contains(a.Reason, part) {
			got[key] = part
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("offered (-want +got):\n%s", diff)
	}
}

// devices gives what a scan offers as a resource.
func (h *host) devices(resource string) []plugin.Device {
	h.t.Helper()
	inv, _ := familytest.Scan(h.t, h.Family)
	return inv[resource]
}

// state is every file of the tree with its content, to see whether anything was written.
func (h *host) state() map[string]string {
	h.t.Helper()
	files := map[string]string{}
	err := filepath.Walk(h.root.Dir(), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			files[path] = string(b)
			return err
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return files
}

// Every tree: what discover prints (NAME.json), and what it leaves out, what doctor says, what is read every 5 s (NAME.txt).
// None of that writes anything.
func TestGoldenTrees(t *testing.T) {
	familytest.EachTree(t, "testdata", 1, func(t *testing.T, name string) {
		h := newHost(t, name)
		before := h.state()
		f := h.ReadOnly()
		list, skipped := look(t, f)
		familytest.Compare(t, "testdata/"+name+".json", familytest.JSON(t, list))
		familytest.Compare(t, "testdata/"+name+".txt", h.words(f, skipped))
		if diff := cmp.Diff(before, h.state()); diff != "" {
			t.Errorf("the look wrote something:\n%s", diff)
		}
	})
}

func (h *host) words(f *qat.Family, skipped []plugin.Skipped) string {
	text := familytest.Lines("left out", skipped)
	for _, entry := range h.logs.AllEntries() {
		text += fmt.Sprintf("%s: %s\n", entry.Level, entry.Message)
	}
	text += familytest.Findings("doctor", "\t", f.Diagnose(h.t.Context())) +
		familytest.Lines("watched", f.Watch().Values) + familytest.Lines("asked", f.Watch().Queries)
	return strings.ReplaceAll(text, h.root.Dir()+"/", "/")
}
