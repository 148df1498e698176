package components

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestEveryRecipeIsPinned(t *testing.T) {
	keys, binaries := map[string]string{}, map[string]string{}
	for _, r := range All() {
		t.Run(r.Name, func(t *testing.T) {
			mod, sum, err := r.moduleFiles()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(mod), " v"+r.Version) {
				t.Errorf("%s.mod does not require v%s", r.Module, r.Version)
			}
			if !strings.Contains(string(sum), " v"+r.Version+" h1:") {
				t.Errorf("%s.sum has no checksum for v%s", r.Module, r.Version)
			}
			key, err := r.key()
			if err != nil {
				t.Fatal(err)
			}
			if other, taken := keys[key]; taken {
				t.Errorf("recipes %s and %s share the cache folder %s", r.Name, other, key)
			}
			keys[key] = r.Name
			for _, b := range r.Binaries() {
				if other, taken := binaries[b]; taken {
					t.Errorf("recipes %s and %s both make %s", r.Name, other, b)
				}
				binaries[b] = r.Name
			}
		})
	}
}

func TestKeyChangesWithTheRecipe(t *testing.T) {
	base, err := Find("runc")
	if err != nil {
		t.Fatal(err)
	}
	was, err := base.key()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Recipe){
		"tags":    func(r *Recipe) { r.Tags = r.Tags[1:] },
		"version": func(r *Recipe) { r.Version = "1.5.3" },
		"flags":   func(r *Recipe) { r.LDFlags += " -s" },
		"cgo":     func(r *Recipe) { r.CGO = false },
		"test":    func(r *Recipe) { r.Test = true },
		"C":       func(r *Recipe) { r.C = []CProgram{{Name: "pinns"}} },
	} {
		r := base
		change(&r)
		if is, err := r.key(); err != nil || is == was {
			t.Errorf("%s changed, the key did not: %s, %v", name, is, err)
		}
	}
}

func TestUnknownComponentNamesTheKnownOnes(t *testing.T) {
	_, err := Find("docker")
	if err == nil || !strings.Contains(err.Error(), "containerd") {
		t.Errorf("got %v, want an error that lists the recipes", err)
	}
}

func TestBuiltFolderIsUsedWithoutBuilding(t *testing.T) {
	c, err := Open(t.TempDir(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Find("runc")
	if err != nil {
		t.Fatal(err)
	}
	key, err := r.key()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(c.dir, key), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := c.Ensure(t.Context(), "runc")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(c.dir, key, "runc"); got["runc"] != want {
		t.Errorf("got %s, want %s", got["runc"], want)
	}
}

func TestLockAdmitsOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside, most int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			unlock, err := lock(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			inside--
			mu.Unlock()
			unlock()
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d builders held the lock at once", most)
	}
}

func TestWaitingForTheLockEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's end", err)
	}
}
