package emulator

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

func TestFilterNotifiesOnlyWhatMayBeACard(t *testing.T) {
	vm, err := bpf.NewVM(filterProgram())
	if err != nil {
		t.Fatal(err)
	}
	type args [6]uint64
	for _, tc := range []struct {
		name   string
		arch   uint32
		nr     int
		args   args
		notify bool
	}{
		{"DFL ioctl", auditArch, unix.SYS_IOCTL, args{3, dflPR}, true},
		{"DFL ioctl with size", auditArch, unix.SYS_IOCTL, args{3, dflRelease}, true},
		{"OPAE ioctl", auditArch, unix.SYS_IOCTL, args{3, opaePR}, true},
		{"terminal ioctl", auditArch, unix.SYS_IOCTL, args{3, unix.TCGETS}, false},
		{"magic in another byte", auditArch, unix.SYS_IOCTL, args{3, 0xb60000}, false},
		{"upper half of the argument", auditArch, unix.SYS_IOCTL, args{3, 0xb60000000000 | unix.TCGETS}, false},
		{"openat rw", auditArch, unix.SYS_OPENAT, args{0, 0, unix.O_RDWR | unix.O_CLOEXEC}, true},
		{"openat r", auditArch, unix.SYS_OPENAT, args{0, 0, unix.O_RDONLY}, false},
		{"openat w", auditArch, unix.SYS_OPENAT, args{0, 0, unix.O_WRONLY | unix.O_CREAT}, false},
		{"openat, flags elsewhere", auditArch, unix.SYS_OPENAT, args{0, unix.O_RDWR, 0}, false},
		{"openat2", auditArch, unix.SYS_OPENAT2, args{}, true},
		{"read", auditArch, unix.SYS_READ, args{unix.O_RDWR, unix.O_RDWR, unix.O_RDWR}, false},
		{"32 bit ABI", unix.AUDIT_ARCH_I386, unix.SYS_IOCTL, args{3, dflPR}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := vm.Run(seccompData(tc.arch, tc.nr, tc.args))
			if err != nil {
				t.Fatal(err)
			}
			if notify := uint32(got) == unix.SECCOMP_RET_USER_NOTIF&0xffffffff; notify != tc.notify {
				t.Errorf("verdict %#x, notify is to be %v", got, tc.notify)
			}
		})
	}
	if sysOpen == noOpen {
		return
	}
	for flags, notify := range map[uint64]bool{unix.O_RDWR: true, unix.O_RDONLY: false, unix.O_RDWR | unix.O_EXCL: true} {
		got, err := vm.Run(seccompData(auditArch, int(uint32(sysOpen)), args{0, flags}))
		if err != nil || (uint32(got) == unix.SECCOMP_RET_USER_NOTIF&0xffffffff) != notify {
			t.Errorf("open with flags %#x: %#x, %v", flags, got, err)
		}
	}
}

// seccompData is the kernel's structure as the VM reads it: words big endian, each argument's low half first.
func seccompData(arch uint32, nr int, args [6]uint64) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(nr))
	out = binary.BigEndian.AppendUint32(out, arch)
	out = append(out, make([]byte, 8)...)
	for _, a := range args {
		out = binary.BigEndian.AppendUint32(out, uint32(a))
		out = binary.BigEndian.AppendUint32(out, uint32(a>>32))
	}
	return out
}

func TestModeBitsAsTheKernelReadsThem(t *testing.T) {
	mapped := func(uint32, uint32) bool { return true }
	none := func(uint32, uint32) bool { return false }
	for _, tc := range []struct {
		name   string
		cred   credentials
		mode   uint32
		mapped func(uint32, uint32) bool
		want   bool
	}{
		{"owner", credentials{uid: 5}, 0o600, mapped, true},
		{"owner without a bit, group has it", credentials{uid: 5, gid: 6}, 0o060, mapped, false},
		{"group", credentials{uid: 1, gid: 6}, 0o060, mapped, true},
		{"supplementary group", credentials{uid: 1, gid: 1, groups: []uint32{2, 6}}, 0o060, mapped, true},
		{"group without a bit, others have it", credentials{uid: 1, gid: 6}, 0o606, mapped, false},
		{"others", credentials{uid: 1, gid: 1}, 0o666, mapped, true},
		{"others read only", credentials{uid: 1, gid: 1}, 0o664, mapped, false},
		{"capability", credentials{uid: 1, gid: 1, override: true}, 0, mapped, true},
		{"capability in a user namespace, ids known there", credentials{uid: 1, gid: 1, override: true, foreign: true}, 0, mapped, true},
		{"capability in a user namespace, ids unknown there", credentials{uid: 1, gid: 1, override: true, foreign: true}, 0, none, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.cred.mayReadWrite(unix.S_IFCHR|tc.mode, 5, 6, tc.mapped); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestParseCredentials(t *testing.T) {
	status := "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t0000000000000002\n"
	got, err := parseCredentials(status)
	want := credentials{uid: 4, gid: 8, groups: []uint32{9, 10}, override: true}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(credentials{})); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := parseCredentials("Uid:\t1\n"); err == nil {
		t.Error("a status without ids was accepted")
	}
	if c, err := (caller{os.Getpid()}).credentials(); err != nil || int(c.uid) != os.Geteuid() || c.foreign {
		t.Errorf("own credentials: %+v, %v", c, err)
	}
}

func TestDeviceCgroup(t *testing.T) {
	group, ok := devicesCgroup("9:name=systemd:/\n3:cpu,devices:/a:b/c\n")
	if group != "/a:b/c" || !ok {
		t.Errorf("group %q, %v", group, ok)
	}
	if _, ok := devicesCgroup("0::/user.slice\n"); ok {
		t.Error("cgroup v2 has no such controller")
	}
	for list, want := range map[string]bool{
		"a *:* rwm\n":                   true,
		"c 243:1 rwm\n":                 true,
		"c 1:3 rwm\nc 243:* rw\n":       true,
		"c 243:1 r\n":                   false,
		"b 243:1 rwm\nc 243:2 rwm\n":    false,
		"c *:* m\nb *:* m\nc 1:3 rwm\n": false,
	} {
		if got := deviceListed(list, devNumber{243, 1}); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}

func TestFaultsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "faults")
	f := &faultFile{path: path, flags: effect{delay: time.Second}}
	if _, err := f.reload(); err != nil {
		t.Fatalf("no file: %v", err)
	}
	write := func(text string) (bool, error) {
		t.Helper()
		if err := replaceFile(path, text); err != nil {
			t.Fatal(err)
		}
		return f.reload()
	}
	if _, err := write(`{"*":{"pr_errno":"EIO"},"dfl-fme.0":{"pr_status":["crc","secure"],"pr_delay":"2ms"},"dfl-port.1":{"pr_errno":"16","open_errno":"enodev"}}`); err != nil {
		t.Fatal(err)
	}
	want := effect{prErrno: unix.EBUSY, openErrno: unix.ENODEV, delay: 2 * time.Millisecond}
	if got := f.of("dfl-fme.0", "dfl-port.1"); got != want {
		t.Errorf("port 1: %+v, want %+v", got, want)
	}
	want = effect{prErrno: unix.EIO, status: 1<<1 | 1<<6, delay: 2 * time.Millisecond}
	if got := f.of("dfl-fme.0", "dfl-port.0"); got != want {
		t.Errorf("port 0: %+v, want %+v", got, want)
	}
	if changed, err := f.reload(); changed || err != nil {
		t.Errorf("unchanged file: %v, %v", changed, err)
	}
	for _, bad := range []string{
		`{`, `{"card":{}}`, `{"*":{"pr_errno":"EWHAT"}}`, `{"*":{"pr_status":["smoke"]}}`, `{"*":{"colour":1}}`,
		`{"*":{"pr_delay":"-1s"}}`, `{"*":{"pr_loads":"xyz"}}`,
	} {
		if _, err := write(bad); err == nil {
			t.Errorf("%s was accepted", bad)
		}
		if got := f.of("dfl-fme.0", "dfl-port.0"); got != want {
			t.Errorf("after %s: %+v", bad, got)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if changed, err := f.reload(); !changed || err != nil || f.of("dfl-fme.0") != (effect{delay: time.Second}) {
		t.Errorf("file removed: %v, %v, %+v", changed, err, f.of("dfl-fme.0"))
	}
}

func TestBitstreamsAreWhatTheFormatSays(t *testing.T) {
	gbs, err := GBS(strings.ToUpper(dashed(DefaultInterface)), nlb3, 1000)
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(gbs)
	head, err := readGBSHead(r)
	if err != nil || head.iface != DefaultInterface || head.afu != nlb3 || r.Len() != 1000 || head.offset != int64(len(gbs)-1000) {
		t.Errorf("head %+v, %d bytes left, %v", head, r.Len(), err)
	}
	if other, _ := GBS(DefaultInterface, nlb0, 1000); bytes.Equal(other[len(other)-1000:], gbs[len(gbs)-1000:]) {
		t.Error("two functions have one payload")
	}
	aocx, hash, err := AOCX(DefaultInterface, nlb3, "", 1000)
	if err != nil || len(hash) != 40 {
		t.Fatalf("hash %q, %v", hash, err)
	}
	inner, err := openAOCX(bytes.NewReader(aocx))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(inner); err != nil || !bytes.Equal(got, gbs) {
		t.Errorf("inner GBS differs, %v", err)
	}
	file, err := elf.NewFile(bytes.NewReader(aocx))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := file.Section(".acl.rand_hash").Data(); err != nil || string(data) != hash {
		t.Errorf("rand_hash %q, %v", data, err)
	}
	for _, bad := range []func() error{
		func() error { _, err := GBS("x", nlb3, 1); return err },
		func() error { _, err := GBS(DefaultInterface, "x", 1); return err },
		func() error { _, err := GBS(DefaultInterface, nlb3, 0); return err },
	} {
		if bad() == nil {
			t.Error("bad arguments were accepted")
		}
	}
}

func FuzzReadGBSHead(f *testing.F) {
	gbs, err := GBS(DefaultInterface, nlb3, 10)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(gbs)
	f.Add([]byte(gbsMagic))
	f.Add(bytes.Replace(gbs, []byte("clusters"), []byte("clusterz"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := readGBSHead(bytes.NewReader(data))
		if err == nil && (h.offset > int64(len(data)) || len(h.iface) != 32 || len(h.afu) != 32) {
			t.Errorf("accepted: %+v", h)
		}
	})
}

func FuzzOpenAOCX(f *testing.F) {
	aocx, _, err := AOCX(DefaultInterface, nlb3, "", 10)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(aocx)
	f.Add(elfFile([]elfSection{{".acl.fpga.bin", nil}}))
	f.Fuzz(func(_ *testing.T, data []byte) {
		r, err := openAOCX(bytes.NewReader(data))
		if err == nil {
			_, _ = readGBSHead(r) // must end, with whatever result
		}
	})
}

func TestStoreKnowsPayloads(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "srv")
	other := "9926ab6d6c925a68aabca7d84c545738"
	put := func(path string, data []byte) {
		t.Helper()
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := func(iface, afu string, size int) ([]byte, string) {
		t.Helper()
		data, err := GBS(iface, afu, size)
		if err != nil {
			t.Fatal(err)
		}
		return data, sum(payload(iface+afu, size))
	}
	first, firstSum := build(DefaultInterface, nlb0, 100)
	put(DefaultInterface+"/"+nlb0+".gbs", first)
	aocx, _, err := AOCX(DefaultInterface, nlb3, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	put(DefaultInterface+"/"+strings.Repeat("a", 40)+".aocx", aocx)
	put(DefaultInterface+"/broken.gbs", []byte("no"))
	put(DefaultInterface+"/broken.aocx", []byte("no"))
	linked, linkedSum := build(other, nlb0, 100)
	put("../elsewhere/x.gbs", linked)
	if err := os.MkdirAll(filepath.Join(dir, other), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/elsewhere/x.gbs", filepath.Join(dir, other, nlb0+".gbs")); err != nil { // absolute on the host
		t.Fatal(err)
	}
	s := newStore(root, dir)
	expectHead := func(what, sha string, want gbsHead, known bool) {
		t.Helper()
		got, ok := s.identify(100, sha, DefaultInterface)
		if ok != known || got.iface != want.iface || got.afu != want.afu {
			t.Errorf("%s: %+v, %v", what, got, ok)
		}
	}
	expectHead("gbs", firstSum, gbsHead{iface: DefaultInterface, afu: nlb0}, true)
	expectHead("aocx", sum(payload(DefaultInterface+nlb3, 100)), gbsHead{iface: DefaultInterface, afu: nlb3}, true)
	expectHead("behind a link", linkedSum, gbsHead{iface: other, afu: nlb0}, true)
	expectHead("unknown", sum(nil), gbsHead{}, false)
	// The same payload under other metadata: the preferred interface wins; a changed file is read again.
	put(other+"/same.gbs", bytes.Replace(first, []byte(dashed(DefaultInterface)), []byte(dashed(other)), 1))
	expectHead("two have it", firstSum, gbsHead{iface: DefaultInterface, afu: nlb0}, true)
	put(DefaultInterface+"/"+nlb0+".gbs", bytes.Replace(first, []byte(dashed(nlb0)), []byte(dashed(nlb3)), 1))
	expectHead("changed", firstSum, gbsHead{iface: DefaultInterface, afu: nlb3}, true)
	var packed bytes.Buffer
	if err := gzip.NewWriter(&packed).Close(); err != nil {
		t.Fatal(err)
	}
	put(DefaultInterface+"/"+nlb0+".gbs", packed.Bytes())
	expectHead("replaced by something else", firstSum, gbsHead{iface: other, afu: nlb0}, true)
}
