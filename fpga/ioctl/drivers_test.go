package ioctl_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/fpga/ioctl"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Under the emulator: the host tree.
const treeVariable = "INLAY_IOCTL_TEST_TREE"

func TestMain(m *testing.M) {
	emulator.Shim()
	os.Exit(m.Run())
}

// TestDriversSpeakTheKernelsABI makes every call of both drivers, to an emulator that checks them as the kernel does.
func TestDriversSpeakTheKernelsABI(t *testing.T) {
	if dir := os.Getenv(treeVariable); dir != "" {
		for _, port := range []string{"dfl-port.0", "intel-fpga-port.0"} {
			t.Run(port, func(t *testing.T) { everyCall(t, dir, port) })
		}
		return
	}
	dir := t.TempDir()
	cards := []emulator.Card{{Driver: emulator.DFL, Ports: 2}, {Driver: emulator.OPAE, Ports: 2}}
	if err := emulator.WriteTree(dir, cards); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code, err := emulator.Run(ctx, emulator.Config{
		HostRoot: dir, Command: []string{self, "-test.run=^" + t.Name() + "$"}, Env: append(os.Environ(), treeVariable+"="+dir),
		Stdout: &out, Stderr: &out,
	})
	if err != nil && strings.Contains(err.Error(), "seccomp user notification") {
		t.Skipf("SKIPPED: the emulator cannot run here: %v", err)
	}
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, &out)
	}
}

func everyCall(t *testing.T, dir, name string) {
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	card0, port0, err := card.FindPort(root, name)
	if err != nil {
		t.Fatal(err)
	}
	driver, _ := card.DriverOf(name)
	open := func(node string) *os.File {
		f, err := os.OpenFile(root.Join(node), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	fme, port := open(card0.Node), open(port0.Node)
	defer fme.Close()
	for _, f := range []*os.File{fme, port} {
		if v, err := driver.APIVersion(f); v != 0 || err != nil {
			t.Errorf("%s: API version %d, %v", f.Name(), v, err)
		}
	}
	if info, err := driver.PortInfo(port); err != nil || info != (fpga.PortInfo{Regions: 1}) {
		t.Errorf("port info %+v, %v", info, err)
	}
	const readWriteMap = 7
	if r, err := driver.RegionInfo(port, 0); err != nil || r != (fpga.RegionInfo{Flags: readWriteMap, Size: 0x40000}) {
		t.Errorf("region info %+v, %v", r, err)
	}
	if _, err := driver.RegionInfo(port, 9); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), name) {
		t.Errorf("region 9: %v", err)
	}
	if err := driver.Reset(port); err != nil {
		t.Errorf("reset: %v", err)
	}
	refusedPR(t, driver, fme)
	if err := driver.Release(fme, 0); !errors.Is(err, unix.EBUSY) {
		t.Errorf("release of an open port: %v", err)
	}
	port.Close()
	for _, step := range []struct {
		what string
		call func(*os.File, uint32) error
		port uint32
		want error
	}{
		{"assign what is not released", driver.Assign, 0, unix.EBUSY},
		{"release", driver.Release, 0, nil},
		{"release again", driver.Release, 0, unix.EBUSY},
		{"release what is not there", driver.Release, 77, unix.ENODEV},
		{"assign", driver.Assign, 0, nil},
	} {
		if err := step.call(fme, step.port); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.what, err, step.want)
		}
	}
	if _, err := ioctl.Plain(fme, 0xb6ff); !errors.Is(err, unix.EINVAL) {
		t.Errorf("an unknown request: %v", err)
	}
}

func refusedPR(t *testing.T, driver fpga.Driver, fme *os.File) {
	payload := []byte("a bitstream that no store has")
	addr, size := unsafe.Pointer(&payload[0]), uint32(len(payload))
	var refused *fpga.PRError
	if err := driver.Program(fme, 0, addr, size); !errors.Is(err, unix.EIO) || !errors.As(err, &refused) {
		t.Errorf("an unknown payload: %v", err)
	} else if driver.Layout().Driver == "opae" && strings.Join(refused.Status, ",") != "incompatible bitstream" {
		t.Errorf("status %q", refused.Status)
	}
	if err := driver.Program(fme, 77, addr, size); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a port that is not there: %v", err)
	}
	hole, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(hole)
	if err := driver.Program(fme, 0, unsafe.Pointer(unsafe.SliceData(hole)), 100); !errors.Is(err, unix.EFAULT) {
		t.Errorf("memory that cannot be read: %v", err)
	}
}

func TestACallNamesTheNode(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "dfl-fme.0"))
	if err != nil {
		t.Fatal(err)
	}
	var arg uint64
	if _, err := ioctl.Call(f, 0xb680, &arg); !errors.Is(err, unix.ENOTTY) || !strings.Contains(err.Error(), f.Name()+": ioctl 0xb680") {
		t.Errorf("no device: %v", err)
	}
	f.Close()
	if _, err := ioctl.Plain(f, 0xb680); !errors.Is(err, unix.EBADF) {
		t.Errorf("a closed file: %v", err)
	}
}
