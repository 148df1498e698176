package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bt "github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
)

const place = "srv/intel.com/fpga/" + bt.Interface + "/" + bt.AFU + ".gbs"

// files lists what lies in the folder of the interface.
func (b *bench) files() string {
	entries, err := os.ReadDir(filepath.Dir(filepath.Join(b.root, place)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestInstallCopiesWholeFilesOnly(t *testing.T) {
	old, valid := "an old file", string(bt.GBS{}.Bytes())
	for name, test := range map[string]struct {
		args   string
		before func(*bench)
		code   int
		want   string // content at place afterwards; "" = no file
	}{
		"new":                   {args: "install", want: valid},
		"quiet":                 {args: "-q install", want: valid},
		"dry run":               {args: "-dry-run install"},
		"quiet dry run":         {args: "-q -dry-run install"}, // regression, spec 8.40: it was copied
		"quiet double dash":     {args: "--q --dry-run install"},
		"flags behind":          {args: "install -dry-run"},
		"JSON dry run":          {args: "-o json -dry-run install"},
		"there already":         {args: "install", before: func(b *bench) { b.file(place, old) }, code: 1, want: old},
		"there already, dry":    {args: "-dry-run install", before: func(b *bench) { b.file(place, old) }, code: 1, want: old},
		"there already, force":  {args: "-force install", before: func(b *bench) { b.file(place, old) }, want: valid},
		"force dry":             {args: "-force -dry-run install", before: func(b *bench) { b.file(place, old) }, want: old},
		"a broken link there":   {args: "install", before: func(b *bench) { b.file(place, "-> nowhere") }, code: 1},
		"force over a link":     {args: "-force install", before: func(b *bench) { b.file("target", old); b.file(place, "-> ../../../../target") }, want: valid},
		"folder cannot be made": {args: "install", before: func(b *bench) { b.file(filepath.Dir(place), old) }, code: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.file("some.gbs", valid)
			if test.before != nil {
				test.before(b)
			}
			code, _, stderr := b.run(append([]string{"-b", "ROOT/some.gbs"}, strings.Fields(test.args)...)...)
			if code != test.code || (code != 0) != (strings.Count(stderr, "\n") == 1) {
				t.Errorf("exit %d, stderr %q; want %d", code, stderr, test.code)
			}
			path := filepath.Join(b.root, place)
			if got, _ := os.ReadFile(path); string(got) != test.want {
				t.Errorf("the store holds %.40q, want %.40q", got, test.want)
			}
			if name == "folder cannot be made" {
				return
			}
			if names := b.files(); strings.TrimSuffix(names, filepath.Base(place)) != "" {
				t.Errorf("left in the store: %s", names)
			}
			if st, err := os.Stat(path); err == nil && test.want == valid && st.Mode() != 0o644 {
				t.Errorf("mode %v", st.Mode())
			}
			if got, err := os.ReadFile(filepath.Join(b.root, "target")); err == nil && string(got) != old {
				t.Error("the link's target was written")
			}
		})
	}
}

func TestInstallFollowsAliasFoldersInsideTheHost(t *testing.T) {
	b := newBench(t)
	b.file("some.gbs", string(bt.GBS{}.Bytes()))
	b.file("srv/alias/keep", "")
	b.file("srv/intel.com/fpga/"+bt.Interface, "-> /srv/alias")
	if code, _, stderr := b.run("-b", "ROOT/some.gbs", "install"); code != 0 {
		t.Fatal(stderr)
	}
	if _, err := os.Stat(filepath.Join(b.root, "srv/alias", bt.AFU+".gbs")); err != nil {
		t.Error(err)
	}
}

// Regression, spec 8.41: ids out of the file became a path unchecked.
func TestFileWithClimbingIDsIsNotInstalled(t *testing.T) {
	b := newBench(t)
	b.file("evil.gbs", string(bt.GBS{Interface: "../../../../evil"}.Bytes()))
	b.file("evil.aocx", string(bt.AOCX{Hash: "../../../../evil"}.Bytes()))
	for _, name := range []string{"evil.gbs", "evil.aocx"} {
		if code, _, stderr := b.run("-b", "ROOT/"+name, "-force", "install"); code != 1 || !strings.Contains(stderr, "hex digits") {
			t.Errorf("%s: exit %d, %s", name, code, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(b.root, "srv")); err == nil {
		t.Error("something was made in the store")
	}
}
