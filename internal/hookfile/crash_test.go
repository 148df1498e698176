package hookfile_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/hookfile"
)

// installForever is the child: upgrade, sweep, downgrade, sweep, and again.
func installForever(root string) int {
	childtest.Ready()
	for {
		for i, mark := range []byte("ab") {
			err := func() error {
				self, err := os.Open(root + "/self-" + string(mark))
				if err != nil {
					return err
				}
				defer self.Close()
				folder, err := hookfile.OpenFolder(root, bin, true)
				if err != nil {
					return err
				}
				defer folder.Close()
				if _, err := folder.Install(context.Background(), self, []string{"v1", "v2"}[i]); err != nil {
					return err
				}
				_, err = folder.Sweep(context.Background(), func(string, time.Time) bool { return false })
				return err
			}()
			if err != nil {
				os.Stderr.WriteString(err.Error())
				return 1
			}
		}
	}
}

func TestAKilledInstallerLeavesTheOldStateOrTheNewOne(t *testing.T) {
	h := newHost(t)
	names := map[string]byte{hookfile.FileName("v1", digest('a')): 'a', hookfile.FileName("v2", digest('b')): 'b'}
	for _, mark := range []byte("ab") {
		if err := os.WriteFile(h.root+"/self-"+string(mark), content(mark), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	for range 30 {
		childtest.KillWithin(t, childtest.Command(asInstaller, h.root), 15*time.Millisecond)

		link, err := os.Readlink(h.bin(hookfile.Name))
		if errors.Is(err, fs.ErrNotExist) {
			seen["nothing"]++ // killed before the first one was done
			continue
		}
		if _, known := names[link]; !known {
			t.Fatalf("the stable name leads to %q, %v", link, err)
		}
		seen[link]++
		if _, err := os.Stat(h.bin(link)); err != nil {
			t.Errorf("the stable name leads to nothing: %v", err)
		}
		for name, mark := range names {
			got, err := os.ReadFile(h.bin(name))
			if err == nil && !bytes.Equal(got, content(mark)) {
				t.Errorf("%s has %d bytes", name, len(got))
			}
		}
	}
	t.Logf("killed with %v", seen)
	in := h.mustInstall('a', "v1")
	h.whole(in.Name, 'a')
	for _, name := range h.names() {
		if hookfile.Leftover(name) {
			t.Errorf("left: %s", name)
		}
	}
}

func TestInstallersAtTheSameTimeTakeTurns(t *testing.T) {
	h := newHost(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := h.install("ab"[i%2], []string{"v1", "v2"}[i%2]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	in := h.mustInstall('b', "v2")
	h.whole(in.Name, 'b')
	if got := h.names(); len(got) != 3 {
		t.Errorf("%q", got)
	}
}
