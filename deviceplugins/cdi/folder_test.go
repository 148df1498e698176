package cdi_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtime "tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/internal/hostfs"
)

const kind = "intel.cdi.k8s.io/gpu"

// card is a device as the GPU family makes it; /dev/null is a node that every machine has.
func card(name string) specs.Device {
	return specs.Device{Name: name, ContainerEdits: specs.ContainerEdits{
		DeviceNodes: []*specs.DeviceNode{{Path: "/dev/dri/" + name, HostPath: "/dev/null", Permissions: "rw"}},
		Mounts:      []*specs.Mount{{HostPath: "/dev/dri/by-path", ContainerPath: "/dev/dri/by-path", Type: "none", Options: []string{"bind", "ro"}}},
	}}
}

func newFolder(t *testing.T) (*cdi.Folder, string) {
	t.Helper()
	host := t.TempDir()
	root, err := hostfs.New(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	dir := filepath.Join(host, "var/run/cdi")
	return cdi.New(dir, root), dir
}

func keep(t *testing.T, f *cdi.Folder, names ...string) {
	t.Helper()
	var devices []specs.Device
	for _, name := range names {
		devices = append(devices, card(name))
	}
	if err := f.Keep(kind, devices); err != nil {
		t.Fatal(err)
	}
}

// files gives the names in a folder; those of a file half written begin with a dot.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestARuntimeFindsEachDeviceUnderItsName(t *testing.T) {
	f, dir := newFolder(t)
	keep(t, f, "card0", "card10")
	want := []string{"intel.cdi.k8s.io-gpu-card0.yaml", "intel.cdi.k8s.io-gpu-card10.yaml"}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range want {
		if mode := stat(t, filepath.Join(dir, name)).Mode().Perm(); mode != 0o644 {
			t.Errorf("%s has mode %o", name, mode)
		}
	}
	cache, err := runtime.NewCache(runtime.WithSpecDirs(dir), runtime.WithAutoRefresh(false))
	if err != nil || len(cache.GetErrors()) != 0 {
		t.Fatalf("the CDI library says %v, %v", err, cache.GetErrors())
	}
	spec := &oci.Spec{}
	if missing, err := cache.InjectDevices(spec, cdi.Name(kind, "card0")); err != nil {
		t.Fatalf("%v: %v", missing, err)
	}
	if len(spec.Linux.Devices) != 1 || spec.Linux.Devices[0].Path != "/dev/dri/card0" ||
		len(spec.Mounts) != 1 || spec.Mounts[0].Destination != "/dev/dri/by-path" {
		t.Errorf("a container gets %+v, %+v", spec.Linux.Devices, spec.Mounts)
	}
}

// F5: a file whose name was known kept its old content for ever.
func TestAChangedDeviceChangesItsFile_F5(t *testing.T) {
	f, dir := newFolder(t)
	keep(t, f, "card0", "card1")
	file0, file1 := filepath.Join(dir, cdi.FileName(kind, "card0")), filepath.Join(dir, cdi.FileName(kind, "card1"))
	before0, before1 := stat(t, file0), stat(t, file1)
	other := card("card0")
	other.ContainerEdits.DeviceNodes[0].Path = "/dev/dri/renderD128"
	if err := f.Keep(kind, []specs.Device{other, card("card1")}); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(file0)
	if !strings.Contains(string(text), "renderD128") || os.SameFile(before0, stat(t, file0)) {
		t.Errorf("the file of the changed device was not replaced:\n%s", text)
	}
	if !os.SameFile(before1, stat(t, file1)) {
		t.Error("a file that was right was written again")
	}
}

func TestAFileIsReplacedByRename(t *testing.T) {
	f, dir := newFolder(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, cdi.FileName(kind, "card0"))
	const old = "cdiVersion: 0.3.0\nkind: intel.cdi.k8s.io/gpu\n"
	write(t, file, old)
	reader, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	keep(t, f, "card0")
	got := make([]byte, 200)
	if n, _ := reader.Read(got); string(got[:n]) != old {
		t.Errorf("a reader that had the old file open reads %q", got[:n])
	}
	if diff := cmp.Diff([]string{cdi.FileName(kind, "card0")}, files(t, dir)); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

// Issues 992fdc6a and 402fb8d9 of the reference: files of mode 0600 that a runtime without root cannot read.
func TestAFileThatNotAllCanReadIsWrittenAnew(t *testing.T) {
	f, dir := newFolder(t)
	keep(t, f, "card0")
	file := filepath.Join(dir, cdi.FileName(kind, "card0"))
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	keep(t, f, "card0")
	if mode := stat(t, file).Mode().Perm(); mode != 0o644 {
		t.Errorf("mode %o", mode)
	}
}

// F5: files were never removed.
func TestOnlyFilesOfTheKindAreCollected_F5(t *testing.T) {
	f, dir := newFolder(t)
	keep(t, f, "card0", "card1")
	foreign := map[string]string{
		"intel.cdi.k8s.io-fpga-gate.yaml":       "kind: intel.cdi.k8s.io/fpga\n",
		"intel.cdi.k8s.io-gpu-extra-card1.yaml": "kind: intel.cdi.k8s.io/gpu-extra\n",
		"intel.cdi.k8s.io-gpu-card7.json":       `{"kind":"intel.cdi.k8s.io/gpu"}`,
		"intel.cdi.k8s.io-gpu-torn.yaml":        "{",
		"nvidia.yaml":                           "kind: nvidia.com/gpu\n",
	}
	for name, text := range foreign {
		write(t, filepath.Join(dir, name), text)
	}
	keep(t, f, "card0")
	got := files(t, dir)
	if slices.Contains(got, cdi.FileName(kind, "card1")) || !slices.Contains(got, cdi.FileName(kind, "card0")) {
		t.Errorf("the kind's own files: %v", got)
	}
	for name := range foreign {
		if !slices.Contains(got, name) {
			t.Errorf("%s was removed", name)
		}
	}
	keep(t, f)
	if got := files(t, dir); len(got) != len(foreign) {
		t.Errorf("without devices there is left %v", got)
	}
}

func TestAFileOfAnotherKindIsNotOverwritten(t *testing.T) {
	f, dir := newFolder(t)
	keep(t, f)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, cdi.FileName(kind, "extra-card1"))
	write(t, file, "kind: intel.cdi.k8s.io/gpu-extra\n")
	if err := f.Keep(kind, []specs.Device{card("extra-card1")}); err == nil || !strings.Contains(err.Error(), "another kind") {
		t.Errorf("error %v", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "kind: intel.cdi.k8s.io/gpu-extra\n" {
		t.Errorf("it is %q now", text)
	}
}

func TestAFolderThatCannotBeWrittenIsAnErrorWithTheDevice(t *testing.T) {
	f, dir := newFolder(t)
	keep(t, f) // nothing to write needs no folder
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder was made for nothing: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "") // no folder, as a wrong mount has it; root is stopped too
	err := f.Keep(kind, []specs.Device{card("card0")})
	if err == nil || !strings.Contains(err.Error(), "intel.cdi.k8s.io/gpu=card0") || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	keep(t, f, "card0")
	if len(files(t, dir)) != 1 {
		t.Error("the folder came, the file did not")
	}
}

func TestOneBadDeviceLeavesTheOthers(t *testing.T) {
	f, dir := newFolder(t)
	inside := card("card3")
	inside.ContainerEdits.Mounts[0].HostPath = filepath.Join(filepath.Dir(dir), "x") // this process' view of the host
	for bad, device := range map[string]specs.Device{
		"a name with a slash": card("../card3"), "no name": card(""), "a path of this process": inside, "twice": card("card0"),
	} {
		t.Run(bad, func(t *testing.T) {
			if err := f.Keep(kind, []specs.Device{card("card0"), device, card("card1")}); err == nil {
				t.Error("no error")
			}
			if got := files(t, dir); len(got) != 2 {
				t.Errorf("files %v", got)
			}
		})
	}
}

// A read of a FIFO would last for ever, and the scan with it; a folder of such a name keeps nothing else from being done.
func TestWhatIsNoFileHoldsNobodyUp(t *testing.T) {
	f, dir := newFolder(t)
	keep(t, f, "card0")
	if err := errors.Join(
		unix.Mkfifo(filepath.Join(dir, cdi.FileName(kind, "card1")), 0o600),
		unix.Mkfifo(filepath.Join(dir, cdi.FileName(kind, "gone")), 0o600),
		os.Mkdir(filepath.Join(dir, cdi.FileName(kind, "folder")), 0o755),
		os.Symlink("nowhere", filepath.Join(dir, cdi.FileName(kind, "dangling"))),
		os.Symlink("/dev/zero", filepath.Join(dir, cdi.FileName(kind, "zero"))),
	); err != nil {
		t.Fatal(err)
	}
	err := f.Keep(kind, []specs.Device{card("card1"), card("card2")})
	if err == nil || !strings.Contains(err.Error(), "card1.yaml is a FIFO") {
		t.Errorf("error %v", err)
	}
	if err := f.Keep(kind, []specs.Device{card("card2")}); err != nil {
		t.Errorf("what nobody is told of is an error: %v", err)
	}
	got := files(t, dir)
	if slices.Contains(got, cdi.FileName(kind, "card0")) || !slices.Contains(got, cdi.FileName(kind, "card2")) {
		t.Errorf("the rest was not done: %v", got)
	}
}

func TestAFileThatHasNoEndIsNotReadToIt(t *testing.T) {
	f, dir := newFolder(t)
	keep(t, f, "card0")
	if err := os.Truncate(filepath.Join(dir, cdi.FileName(kind, "card0")), 1<<40); err != nil {
		t.Skipf("no such file can be made here: %v", err)
	}
	keep(t, f, "card0")
	if size := stat(t, filepath.Join(dir, cdi.FileName(kind, "card0"))).Size(); size > 1000 {
		t.Errorf("it has %d bytes", size)
	}
}

func TestRefreshMakesNothingNew(t *testing.T) {
	f, dir := newFolder(t)
	keep(t, f, "card0", "card1")
	changed := card("card0")
	changed.ContainerEdits.Mounts = nil
	if err := f.Refresh(kind, []specs.Device{changed, card("card2")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{cdi.FileName(kind, "card0")}, files(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, cdi.FileName(kind, "card0"))); strings.Contains(string(text), "mounts") {
		t.Errorf("not brought up to date:\n%s", text)
	}
}

// A card that cannot be read for a moment lost its file, and with Refresh for ever.
func TestTheFileOfADeviceThatStaysIsLeftAsItIs(t *testing.T) {
	for name, keepTheRest := range map[string]func(*cdi.Folder, string, []specs.Device, ...string) error{"Keep": (*cdi.Folder).Keep, "Refresh": (*cdi.Folder).Refresh} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFolder(t)
			keep(t, f, "card0", "card1", "card2")
			file := filepath.Join(dir, cdi.FileName(kind, "card1"))
			before := stat(t, file)
			if err := keepTheRest(f, kind, []specs.Device{card("card0")}, "card1", "card7"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{cdi.FileName(kind, "card0"), cdi.FileName(kind, "card1")}, files(t, dir)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !os.SameFile(before, stat(t, file)) {
				t.Error("it was written again")
			}
		})
	}
}

func TestOnlyTheKindsFilesAreWatched(t *testing.T) {
	f, dir := newFolder(t)
	w := f.Watch(kind)
	if w.Path != dir || !w.Content || !w.Match(cdi.FileName(kind, "card0")) {
		t.Errorf("%+v", w)
	}
	for _, name := range []string{"intel.cdi.k8s.io-fpga-gate.yaml", ".intel.cdi.k8s.io-gpu-card0.yaml.123", "intel.cdi.k8s.io-gpu-card0.yaml.tmp"} {
		if w.Match(name) {
			t.Errorf("%s is watched", name)
		}
	}
}

func TestModes(t *testing.T) {
	for _, s := range []string{"auto", "on", "off"} {
		if m, err := cdi.ParseMode(s); err != nil || string(m) != s {
			t.Errorf("%s: %v, %v", s, m, err)
		}
	}
	for _, s := range []string{"", "On", "yes"} {
		if _, err := cdi.ParseMode(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
