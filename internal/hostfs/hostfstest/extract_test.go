package hostfstest_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

const golden = `a comment
-- sys/class/x/y --
-> ../../devices/y
-- sys/devices/y/dev --
7:3
-- sys/devices/y/locked/ --
-- dev/y --
c 7:3
-- srv/abs --
-> /sys/devices/y/dev
`

func TestEveryKindOfEntryIsMade(t *testing.T) {
	for _, plain := range []bool{false, true} {
		var opts []hostfstest.Option
		if plain {
			opts = append(opts, hostfstest.PlainNodes())
		}
		dir := t.TempDir()
		if err := hostfstest.Extract(dir, []byte(golden), opts...); err != nil {
			t.Fatal(err)
		}
		root, err := hostfs.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		for _, file := range []string{"/sys/devices/y/dev", "/sys/class/x/y/dev", "/srv/abs"} {
			if got, err := root.ReadAttr(file); err != nil || got != "7:3" {
				t.Errorf("%s: %q, %v", file, got, err)
			}
		}
		if st, err := os.Stat(filepath.Join(dir, "sys/devices/y/locked")); err != nil || !st.IsDir() {
			t.Errorf("locked is no folder: %v", err)
		}
		dev, err := root.Node("/dev/y")
		switch {
		case errors.Is(err, hostfs.ErrPlainNode): // asked for, or mknod is not permitted here
		case err != nil:
			t.Error(err)
		case plain || dev != hostfs.Dev{Major: 7, Minor: 3}:
			t.Errorf("node is %v, plain nodes asked for: %v", dev, plain)
		}
	}
}

func TestHostileTreesAreRefused(t *testing.T) {
	for name, archive := range map[string]string{
		"out of the tree":    "-- ../x --\n",
		"absolute":           "-- /etc/x --\n",
		"through a link":     "-- a --\n-> /tmp\n-- a/b --\ntext\n",
		"number of no node":  "-- dev/x --\nc x:y\n",
		"link of a link":     "-- a --\n-> /tmp\n-- a/inlay-must-not-be/here --\n-> x\n",
		"file that is twice": "-- a --\n-> x\n-- a --\n-> y\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := hostfstest.Extract(dir, []byte(archive))
			if err == nil {
				t.Error("no error")
			}
		})
	}
}
