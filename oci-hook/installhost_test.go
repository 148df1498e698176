package main

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hookfile"
)

// installOnHost runs a program as the init container does: nothing but it in the image, the host below a folder.
func installOnHost(t *testing.T, program, root string, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(program, append([]string{"install-host", "--host-root", root}, args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = &out, &errs, []string{}, "/"
	if err := cmd.Run(); (err == nil) != (errs.Len() == 0) {
		t.Errorf("%v: %s", err, errs.String())
	}
	return strings.TrimSpace(out.String()), strings.TrimSpace(errs.String())
}

func hostRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return root
}

func TestTheProgramPutsItselfIntoTheHostsHookFolder(t *testing.T) {
	root, hook := hostRoot(t), programs.path(t, "inlay-hook")
	content, err := os.ReadFile(hook)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, "opt/inlay/bin")
	file := filepath.Join(folder, hookfile.FileName("devel", sha256.Sum256(content)))
	for _, want := range []string{file + " put in place", file + " was there"} {
		if out, errs := installOnHost(t, hook, root); out != want || errs != "" {
			t.Errorf("%q %q, want %q", out, errs, want)
		}
	}
	out, err := exec.Command(filepath.Join(folder, "inlay-hook"), "version").Output()
	if err != nil || string(out) != "inlay-hook devel\n" {
		t.Errorf("through the link: %q, %v", out, err)
	}

	// hooks.d shares the link, and leaves it to install-host.
	hooks := filepath.Join(root, "etc/hooks.d")
	folders := []string{"--hooks-dir", hooks, "--bin-dir", folder}
	if out, err := exec.Command(hook, append([]string{"install", "--host-root", root}, folders...)...).CombinedOutput(); err != nil {
		t.Errorf("install: %s", out)
	}
	if target, err := os.Readlink(filepath.Join(folder, "inlay-hook")); err != nil || target != filepath.Base(file) {
		t.Errorf("after install the link leads to %q, %v", target, err)
	}
	if out, err := exec.Command(hook, append([]string{"uninstall"}, folders...)...).CombinedOutput(); err != nil {
		t.Errorf("uninstall: %s", out)
	}
	if _, err := os.Stat(filepath.Join(folder, "inlay-hook")); err != nil {
		t.Errorf("uninstall has taken the gate's program away: %v", err)
	}
	if _, err := os.Stat(filepath.Join(hooks, "inlay-fpga.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("uninstall has left the JSON: %v", err)
	}
	if err := unix.Unlink(filepath.Join(folder, "inlay-hook")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/bin/true", filepath.Join(folder, "inlay-hook")); err != nil {
		t.Fatal(err)
	}
	stderr, err := exec.Command(hook, append([]string{"install", "--host-root", root}, folders...)...).CombinedOutput()
	if err == nil || !strings.Contains(string(stderr), "is a link to another program: run inlay-hook install-host first") {
		t.Errorf("install over a strange link: %q, %v", stderr, err)
	}
	if out, errs := installOnHost(t, hook, root); out != file+" was there; the link inlay-hook leads to it now" || errs != "" {
		t.Errorf("%q %q", out, errs)
	}
}

// build copies the program as another build of it: bytes behind an ELF file's end change its digest alone.
func build(t *testing.T, mark string) string {
	t.Helper()
	content, err := os.ReadFile(programs.path(t, "inlay-hook"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "inlay-hook")
	if err := os.WriteFile(file, append(content, mark...), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// The init containers of the overlays region and crio-hooks, one upgrade after the other on one host.
func TestANodeThatHadInlayNRIIsUpgradedWithHooksD(t *testing.T) {
	root := hostRoot(t)
	folder, hooks := filepath.Join(root, "opt/inlay/bin"), filepath.Join(root, "usr/share/containers/oci/hooks.d")
	folders := []string{"--hooks-dir", hooks, "--bin-dir", folder}
	crioHooks := func(hook string) {
		t.Helper()
		if _, errs := installOnHost(t, hook, root, "--sweep"); errs != "" {
			t.Fatal(errs)
		}
		if out, err := exec.Command(hook, append([]string{"install", "--host-root", root}, folders...)...).CombinedOutput(); err != nil {
			t.Fatalf("install: %s", out)
		}
	}
	is := func(when string, builds ...string) {
		t.Helper()
		want := []string{"inlay-hook"}
		for _, b := range builds {
			content, err := os.ReadFile(b)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, hookfile.FileName("devel", sha256.Sum256(content)))
		}
		if target, err := os.Readlink(filepath.Join(folder, "inlay-hook")); err != nil || target != want[len(want)-1] {
			t.Errorf("%s: the link leads to %q, %v", when, target, err)
		}
		slices.Sort(want)
		var got []string
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	v1, v2, v3 := build(t, "1"), build(t, "2"), build(t, "3")
	if _, errs := installOnHost(t, v1, root); errs != "" {
		t.Fatal(errs)
	}
	crioHooks(v1)
	is("crio-hooks after region", v1)
	crioHooks(v2)
	is("an upgrade", v1, v2) // a container that is being created may have been told to run v1
	crioHooks(v2)
	is("the same again", v1, v2)
	crioHooks(v3)
	is("a second upgrade", v2, v3)
	crioHooks(v2)
	is("a downgrade", v3, v2)
	config, err := os.ReadFile(filepath.Join(hooks, "inlay-fpga.json"))
	if err != nil || !strings.Contains(string(config), `"path": "/opt/inlay/bin/inlay-hook"`) {
		t.Errorf("the JSON names another program than the link: %s, %v", config, err)
	}
}

func TestInstallHostRefusesWithALine(t *testing.T) {
	hook := programs.path(t, "inlay-hook")
	for _, tt := range []struct {
		name    string
		arrange func(root string) error
		args    []string
		wantErr string
	}{
		{"a folder outside", nil, []string{"--bin-dir", "/tmp"}, "inlay-hook: install-host: --bin-dir: /tmp is outside the host root"},
		{"the root itself", nil, []string{"--bin-dir", "ROOT"}, "--bin-dir: it is the host root itself"},
		{"a folder of everybody", func(root string) error {
			return os.MkdirAll(filepath.Join(root, "opt/inlay"), 0o777)
		}, nil, "install-host: folder ROOT/opt has mode 0777: others than root can write it"},
		{"a link on the way", func(root string) error { return os.Symlink("/tmp", filepath.Join(root, "opt")) }, nil, "install-host: ROOT/opt is a link or no folder"},
		{"no such host root", nil, []string{"--host-root", "/nonexistent"}, "install-host: open /nonexistent: no such file"},
		{"something else", nil, []string{"now"}, `install-host: "now" is not expected`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := hostRoot(t)
			if tt.arrange != nil {
				old := unix.Umask(0)
				err := tt.arrange(root)
				unix.Umask(old)
				if err != nil {
					t.Fatal(err)
				}
			}
			var args []string
			for _, a := range tt.args {
				args = append(args, strings.ReplaceAll(a, "ROOT", root))
			}
			_, errs := installOnHost(t, hook, root, args...)
			want(t, errs, strings.ReplaceAll(tt.wantErr, "ROOT", root))
		})
	}
}
