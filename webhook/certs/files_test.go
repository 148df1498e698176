package certs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"
)

func issue(t *testing.T, validity time.Duration) (ca, leaf *pair) {
	t.Helper()
	ca, err := newCA(time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = newLeaf(ca, time.Now(), validity, []string{"hook.ns.svc"}); err != nil {
		t.Fatal(err)
	}
	return ca, leaf
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// runFiles has the files kept until the test ends.
func runFiles(t *testing.T, dir string) *Files {
	t.Helper()
	log, _ := test.NewNullLogger()
	f := NewFiles(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), log)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done; goleak.VerifyNone(t) })
	return f
}

func serves(f *Files, p *pair) func() bool {
	return func() bool { c := f.current.Load(); return c != nil && c.Leaf.Equal(p.cert) }
}

func TestFilesAreReadAgainWhenALinkIsSwapped(t *testing.T) {
	dir := t.TempDir()
	swap := func(name string, p *pair) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "tls.crt"), p.certPEM)
		write(t, filepath.Join(dir, name, "tls.key"), p.keyPEM)
		if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	ca1, first := issue(t, time.Hour)
	ca2, second := issue(t, time.Hour)
	swap("..1", first)
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	f := runFiles(t, dir)
	until(t, 5*time.Second, "first", serves(f, first))
	if err := shake(t, f, string(ca1.certPEM), "hook.ns.svc"); err != nil {
		t.Error(err)
	}
	swap("..2", second)
	until(t, 5*time.Second, "second", serves(f, second))
	if err := shake(t, f, string(ca2.certPEM), "hook.ns.svc"); err != nil {
		t.Error(err)
	}
	if !f.NotAfter().Equal(second.cert.NotAfter) || len(f.Missing()) > 0 {
		t.Error(f.NotAfter(), f.Missing())
	}
}

func TestAHalfWrittenPairKeepsTheLastGoodOne(t *testing.T) {
	dir := t.TempDir()
	f := runFiles(t, dir)
	if m := strings.Join(f.Missing(), ""); !strings.Contains(m, "no certificate yet") || !strings.Contains(m, "tls.crt") {
		t.Errorf("missing: %s", m)
	}
	_, first := issue(t, time.Hour)
	_, second := issue(t, time.Hour)
	_, expired := issue(t, -time.Minute)
	crt, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write(t, crt, first.certPEM)
	write(t, key, first.keyPEM)
	until(t, 5*time.Second, "files that come later", serves(f, first))
	write(t, crt, second.certPEM)
	time.Sleep(3 * settle)
	if !serves(f, first)() {
		t.Error("half a pair is served")
	}
	write(t, key, second.keyPEM)
	until(t, 5*time.Second, "the other half", serves(f, second))
	for _, bad := range []*pair{expired, {certPEM: []byte("x"), keyPEM: []byte("y")}, {}} {
		write(t, crt, bad.certPEM)
		write(t, key, bad.keyPEM)
		time.Sleep(3 * settle)
		if !serves(f, second)() || len(f.Missing()) > 0 {
			t.Errorf("%.20s is served", bad.certPEM)
		}
	}
}
