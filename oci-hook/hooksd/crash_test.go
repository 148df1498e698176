package hooksd_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.podman.io/common/pkg/hooks"

	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/oci-hook/hooksd"
)

// asInstaller is the role in which this test binary installs for ever; its argument is the folder.
const asInstaller = "installer"

func TestMain(m *testing.M) {
	if childtest.Role() != asInstaller {
		os.Exit(m.Run())
	}
	in := inDir(os.Args[1])
	childtest.Ready()
	for {
		if err := errors.Join(in.Install(), in.Uninstall()); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
	}
}

func inDir(dir string) hooksd.Installation {
	return hooksd.Installation{
		HooksDir: filepath.Join(dir, "hooks.d"),
		BinDir:   filepath.Join(dir, "bin"),
		Self:     filepath.Join(dir, "self"),
	}
}

func TestAKilledInstallerLeavesNoHalfFileAndNoJSONWithoutItsProgram(t *testing.T) {
	dir := t.TempDir()
	in := inDir(dir)
	program := bytes.Repeat([]byte("inlay-hook"), 200_000) // 2 MB: long enough to be killed inside
	if err := os.WriteFile(in.Self, program, 0o755); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 30 {
		childtest.KillWithin(t, childtest.Command(asInstaller, dir), 20*time.Millisecond)

		seen[checkWhole(t, in, program)]++
	}
	t.Logf("killed with %v", seen)

	if err := in.Install(); err != nil {
		t.Fatalf("Install after kills: %v", err)
	}
	if got := checkWhole(t, in, program); got != "both" {
		t.Errorf("after the last Install: %s", got)
	}
	if got := names(t, in.BinDir, in.HooksDir); len(got) != 2 {
		t.Errorf("files after the last Install: %v", got)
	}
}

// checkWhole fails the test if a file is half written or the JSON is there without its program, and says what is there.
func checkWhole(t *testing.T, in hooksd.Installation, program []byte) string {
	t.Helper()
	if _, err := os.Stat(in.HooksDir); err == nil {
		if _, err := hooks.New(context.Background(), []string{in.HooksDir}, nil); err != nil {
			t.Errorf("a runtime would refuse the folder: %v", err)
		}
	}
	got, err := os.ReadFile(in.BinaryPath())
	hasProgram := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if hasProgram && !bytes.Equal(got, program) {
		t.Errorf("the program has %d of %d bytes", len(got), len(program))
	}
	_, err = os.Stat(in.ConfigPath())
	hasConfig := err == nil
	switch {
	case hasConfig && !hasProgram:
		t.Error("the JSON is there without its program")
		return "JSON alone"
	case hasConfig:
		return "both"
	case hasProgram:
		return "program alone"
	}
	return "nothing"
}

func TestInstallersAtTheSameTimeTakeTurns(t *testing.T) {
	in := inDir(t.TempDir())
	program := bytes.Repeat([]byte("inlay-hook"), 10_000)
	if err := os.WriteFile(in.Self, program, 0o755); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := in.Install(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := checkWhole(t, in, program); got != "both" {
		t.Error(got)
	}
	if got := names(t, in.BinDir, in.HooksDir); len(got) != 2 {
		t.Errorf("files: %v", got)
	}
}
