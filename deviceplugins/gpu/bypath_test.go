package gpu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/internal/hostfs"
)

// prepared gives the links in the run folder: card/name → target.
func prepared(t testing.TB, run string) map[string]string {
	t.Helper()
	root := filepath.Join(run, "gpu/by-path")
	links := map[string]string{}
	for _, card := range folder(t, root) {
		if st, err := os.Stat(filepath.Join(root, card)); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", card, st, err)
		}
		for _, name := range folder(t, filepath.Join(root, card)) {
			target, err := os.Readlink(filepath.Join(root, card, name))
			if err != nil {
				t.Error(err)
			}
			links[card+"/"+name] = target
		}
	}
	return links
}

func inRunDir(run string) func(*Config) { return func(c *Config) { c.RunDir = run } }

func TestEachCardHasAFolderOfRelativeLinks(t *testing.T) {
	root, o := golden(t, "i915-and-xe")
	run := t.TempDir()
	scan(t, family(t, root, o, inRunDir(run)))
	want := map[string]string{
		"card0/pci-0000:00:02.0-card": "../card0", "card0/pci-0000:00:02.0-render": "../renderD128",
		"card2/pci-0000:3d:00.1-card": "../card2", "card2/pci-0000:3d:00.1-render": "../renderD130",
		"card3/pci-0000:3d:00.2-card": "../card3", "card3/pci-0000:3d:00.2-render": "../renderD131",
	}
	if diff := cmp.Diff(want, prepared(t, run)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Mounted in a container, a link must lead to a node that the container was given.
func TestALinkThatLeadsElsewhereIsInNoFolder(t *testing.T) {
	root, o := golden(t, "links-odd")
	run := t.TempDir()
	scan(t, family(t, root, o, inRunDir(run)))
	want := map[string]string{
		"card0/pci-0000:00:02.0-card": "../card0", "card0/pci-0000:00:02.0-render": "../renderD128",
		"card1/pci-0000:03:00.0-card": "../card1", "card1/pci-0000:03:00.0-render": "../renderD129",
	}
	if diff := cmp.Diff(want, prepared(t, run)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFoldersFollowTheCards(t *testing.T) {
	root, run := empty(t), t.TempDir()
	plug(t, root, 0, "xe")
	plug(t, root, 1, "xe")
	f := family(t, root, DefaultOptions(), inRunDir(run))
	scan(t, f)
	place := filepath.Join(run, "gpu/by-path/card0")
	first, err := os.Stat(place)
	if err != nil {
		t.Fatal(err)
	}
	scan(t, f)
	if again, err := os.Stat(place); err != nil || !os.SameFile(first, again) {
		t.Error("a folder that is right was made anew: containers that have it would lose it")
	}

	steps := []struct {
		name string
		do   func() error
		want []string
	}{
		{"a link goes", func() error { return os.Remove(root.Join("/dev/dri/by-path/pci-0000:00:00.0-card")) }, []string{"card0/pci-0000:00:00.0-render", "card1/pci-0000:01:00.0-card", "card1/pci-0000:01:00.0-render"}},
		{"a card goes", func() error { unplug(t, root, 1); return nil }, []string{"card0/pci-0000:00:00.0-render"}},
		{"somebody writes into a folder", func() error { return os.WriteFile(filepath.Join(place, "x"), nil, 0o644) }, []string{"card0/pci-0000:00:00.0-render"}},
		{"one is left over from a process that was killed", func() error { return os.Mkdir(filepath.Join(run, "gpu/by-path/.card0~123"), 0o700) }, []string{"card0/pci-0000:00:00.0-render"}},
		{"the run folder is emptied", func() error { return os.RemoveAll(filepath.Join(run, "gpu")) }, []string{"card0/pci-0000:00:00.0-render"}},
		{"another mode", func() error { f.Configure(parse(t, "--gpu-bypath=none")); return nil }, nil},
		{"and back", func() error { f.Configure(DefaultOptions()); return nil }, []string{"card0/pci-0000:00:00.0-render"}},
		{"all of them", func() error { f.Configure(parse(t, "--gpu-bypath=all")); return nil }, nil},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			scan(t, f)
			want := map[string]string{}
			for _, link := range step.want {
				want[link] = "../" + filepath.Base(filepath.Dir(link))
				if strings.HasSuffix(link, "-render") {
					want[link] = "../renderD12" + map[string]string{"card0": "8", "card1": "9"}[filepath.Dir(link)]
				}
			}
			if diff := cmp.Diff(want, prepared(t, run)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The folder of a card that could not be read for one scan was emptied, and was another one after it.
func TestACardThatIsUnreadableForOneScanKeepsItsFolder(t *testing.T) {
	root, run := empty(t), t.TempDir()
	plug(t, root, 0, "xe")
	plug(t, root, 1, "xe")
	f := family(t, root, DefaultOptions(), inRunDir(run))
	scan(t, f)
	place := filepath.Join(run, "gpu/by-path/card1")
	before, err := os.Stat(place)
	if err != nil {
		t.Fatal(err)
	}
	links := prepared(t, run)
	file := root.Join("/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/sriov_numvfs")
	for _, step := range []struct {
		name, text string
		family     *Family
		skipped    int
	}{
		{"unreadable", "?\n", f, 0}, // known, so it is Unhealthy
		{"still so after a restart of the program", "?\n", family(t, root, DefaultOptions(), inRunDir(run)), 1},
		{"well again", "0\n", f, 0},
	} {
		if err := os.WriteFile(file, []byte(step.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, skipped, err := step.family.Scan(t.Context()); err != nil || len(skipped) != step.skipped {
			t.Fatalf("%s: %v, left out: %v", step.name, err, skipped)
		}
		if after, err := os.Stat(place); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: the folder is another: %v", step.name, err)
		}
		if diff := cmp.Diff(links, prepared(t, run)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	if err := os.WriteFile(file, []byte("?\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.Configure(parse(t, "--gpu-bypath=none"))
	scan(t, f)
	if left := prepared(t, run); len(left) > 0 {
		t.Errorf("links that are not wanted: %v", left)
	}
}

// A reader that has opened the folder sees the old one or the new one, whole.
func TestAFolderIsReplacedWhole(t *testing.T) {
	root, run := empty(t), t.TempDir()
	plug(t, root, 0, "xe")
	f := family(t, root, DefaultOptions(), inRunDir(run))
	scan(t, f)
	place := filepath.Join(run, "gpu/by-path/card0")
	before, _ := os.Stat(place)
	os.Remove(root.Join("/dev/dri/by-path/pci-0000:00:00.0-card"))
	scan(t, f)
	if after, err := os.Stat(place); err != nil || os.SameFile(before, after) {
		t.Errorf("the folder was changed in place: %v", err)
	}
}

func TestAFolderThatCannotBeWrittenIsSaidAndCostsNothing(t *testing.T) {
	root, o := golden(t, "links-all")
	o.ByPath = ByPathSingle
	run := root.Join("/run") // an ordinary file
	if err := os.WriteFile(run, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f := family(t, root, o, inRunDir(run))
	inv, skipped, err := f.Scan(t.Context())
	if err != nil || len(skipped) != 1 || !strings.Contains(skipped[0].Reason, "by-path") || !strings.HasPrefix(skipped[0].Path, run) {
		t.Errorf("%v, %v", skipped, err)
	}
	if d := inv["gpu.intel.com/i915"]; len(d) != 1 || len(d[0].Grant.Mounts) != 2 {
		t.Errorf("%+v", d)
	}
}

// G2: whether there are links was looked at once, at start.
func TestLinksThatComeLaterAreGiven_G2(t *testing.T) {
	for mode, want := range map[string]int{ByPathSingle: 2, ByPathAll: 1, ByPathNone: 0} {
		t.Run(mode, func(t *testing.T) {
			root, o := golden(t, "links-missing")
			o.ByPath = mode
			f := family(t, root, o)
			mounts := func() int { return len(scan(t, f)["gpu.intel.com/i915"][0].Grant.Mounts) }
			if got := mounts(); got != 0 {
				t.Errorf("%d mounts of nothing", got)
			}
			links(t, root)
			if got := mounts(); got != want {
				t.Errorf("%d mounts, want %d", got, want)
			}
		})
	}
}

func links(t testing.TB, root *hostfs.Root) {
	t.Helper()
	dir := root.Join("/dev/dri/by-path")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"pci-0000:00:02.0-card": "../card0", "pci-0000:00:02.0-render": "../renderD128"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// Leftovers that cannot be taken away are no reason for a node without cards to be unready.
func TestAFolderOfLinksThatNobodyNeedsDoesNotMatter(t *testing.T) {
	run := t.TempDir()
	if err := os.WriteFile(filepath.Join(run, "gpu"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cards := range map[string]bool{"no-gpu": false, "i915-and-xe": true} {
		root, o := golden(t, name)
		_, skipped, err := family(t, root, o, inRunDir(run)).Scan(t.Context())
		if err != nil || (len(skipped) > 0) != cards {
			t.Errorf("%s: %v, %v", name, skipped, err)
		}
	}
}
