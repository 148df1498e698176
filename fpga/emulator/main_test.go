package emulator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const (
	nlb0 = DefaultAFU
	nlb3 = "f7df405cbd7acf7222f144b0b93acd18"

	helperVariable = "EMULATOR_TEST_HELPER" // names the helper that this process is to be
	treeVariable   = "EMULATOR_TEST_TREE"
)

// TestMain makes the test binary three things: the tests, the shim that Run starts, and the helpers that run as COMMAND.
func TestMain(m *testing.M) {
	Shim()
	if name := os.Getenv(helperVariable); name != "" {
		if err := helpers[name](os.Getenv(treeVariable), os.Args[1:]); err != nil {
			fmt.Println("helper", name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// machine is a host tree and an emulator for it.
type machine struct {
	t    *testing.T
	root string
	cfg  Config
}

// newMachine makes the tree; it skips where the kernel lets nobody listen to a filter.
func newMachine(t *testing.T, plain bool, cards ...Card) *machine {
	t.Helper()
	needNotification(t)
	m := &machine{t: t, root: t.TempDir()}
	if err := os.Chmod(filepath.Dir(m.root), 0o755); err != nil { // for helpers that give up root
		t.Fatal(err)
	}
	var opts []TreeOption
	if plain {
		opts = append(opts, PlainNodes())
	}
	if err := WriteTree(m.root, cards, opts...); err != nil {
		t.Fatal(err)
	}
	m.cfg = Config{HostRoot: m.root, RecordFile: filepath.Join(t.TempDir(), "record"), FaultsFile: filepath.Join(t.TempDir(), "faults"), Log: t.Logf}
	return m
}

func needNotification(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "sys"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = Run(t.Context(), Config{HostRoot: root, Command: []string{self}, Env: []string{"GORACE=atexit_sleep_ms=0", helperVariable + "=nothing"}})
	if err != nil {
		t.Skipf("SKIPPED: seccomp user notification is not permitted here: %v", err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	var st unix.Stat_t
	probe := filepath.Join(t.TempDir(), "node")
	if err := makeNode(probe, dflPortMajor, 0, false); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(probe, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		t.Skip("SKIPPED: mknod is not permitted here")
	}
}

// install puts a bitstream into the store and gives its payload.
func (m *machine) install(iface, afu string, size int) []byte {
	m.t.Helper()
	data, err := GBS(iface, afu, size)
	if err != nil {
		m.t.Fatal(err)
	}
	dir := filepath.Join(m.root, "srv/intel.com/fpga", iface)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, afu+".gbs"), data, 0o644); err != nil {
		m.t.Fatal(err)
	}
	return payload(iface+afu, size)
}

func (m *machine) env(helper string) []string {
	// The race detector would have every helper sleep a second at its end.
	return append(os.Environ(), "GORACE=atexit_sleep_ms=0", helperVariable+"="+helper, treeVariable+"="+m.root)
}

// run runs a helper and everything in it under the emulator and expects it to find all as it should be.
func (m *machine) run(helper string, args ...string) {
	m.t.Helper()
	if code, err := m.start(helper, args...)(); err != nil || code != 0 {
		m.t.Fatalf("helper %s: exit code %d, error %v", helper, code, err)
	}
}

// start is run in the background; the function waits for the end.
func (m *machine) start(helper string, args ...string) func() (int, error) {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	cfg := m.cfg
	cfg.Command = append([]string{self}, args...)
	cfg.Env = m.env(helper)
	var out bytes.Buffer
	cfg.Stdout, cfg.Stderr = &out, &out
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	var code int
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		code, err = Run(ctx, cfg)
	}()
	return func() (int, error) {
		<-done
		if out.Len() > 0 {
			m.t.Logf("%s", out.String())
		}
		return code, err
	}
}

func (m *machine) records() []Record {
	m.t.Helper()
	recs, err := ReadRecords(m.cfg.RecordFile)
	if err != nil {
		m.t.Fatal(err)
	}
	return recs
}

func (m *machine) faults(f Faults) {
	m.t.Helper()
	if err := WriteFaults(m.cfg.FaultsFile, f); err != nil {
		m.t.Fatal(err)
	}
}

// afu reads what the tree says of a port, found as the drivers' users find it.
func (m *machine) afu(port string) string {
	m.t.Helper()
	text, err := readTrimmed(filepath.Join(m.root, "sys/bus/platform/devices", port, "afu_id"))
	if err != nil {
		return err.Error()
	}
	return text
}

// eventually waits up to five seconds for something that happens on its own.
func eventually(what string, ok func() bool) error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if ok() {
			return nil
		}
	}
	return fmt.Errorf("did not happen: %s", what)
}

// What follows is a user of the card: real system calls, structures built by hand.

func ioctl(fd int, request uint32, arg uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), arg)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

func ioctlBytes(fd int, request uint32, arg []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&arg[0])))
	runtime.KeepAlive(arg)
	if errno != 0 {
		return errno
	}
	return nil
}

func openNode(root, name string, flags int) (int, error) {
	return unix.Open(filepath.Join(root, "dev", name), unix.O_RDWR|unix.O_CLOEXEC|flags, 0)
}

// openAlone opens with O_EXCL. A process that looks at all open files of the machine keeps a closed one for a moment.
func openAlone(root, name string) (fd int, err error) {
	for range 1000 {
		if fd, err = openNode(root, name, unix.O_EXCL); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return fd, err
}

// prArgument is struct fme_port_pr of either driver; OPAE's has the status behind it.
func prArgument(size int, port uint32, data []byte) []byte {
	s := make([]byte, size)
	binary.LittleEndian.PutUint32(s, uint32(size))
	binary.LittleEndian.PutUint32(s[8:], port)
	binary.LittleEndian.PutUint32(s[12:], uint32(len(data)))
	binary.LittleEndian.PutUint64(s[16:], uint64(uintptr(unsafe.Pointer(&data[0]))))
	return s
}

// pr programs a port as a DFL user does.
func pr(root, fme string, port uint32, data []byte) error {
	fd, err := openNode(root, fme, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return ioctlBytes(fd, dflPR, prArgument(dflPRSize, port, data))
}

// mappedAFU reads the function as OPAE does: through the registers.
func mappedAFU(fd int) (string, error) {
	mem, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return "", fmt.Errorf("mmap: %w", err)
	}
	defer unix.Munmap(mem)
	return guid(mem), nil
}

func guid(mem []byte) string {
	return fmt.Sprintf("%016x%016x", binary.LittleEndian.Uint64(mem[0x10:]), binary.LittleEndian.Uint64(mem[0x8:]))
}

func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

func payload(seed string, size int) []byte { return appendPayload(nil, seed, size) }
