package hostfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

func tree(t *testing.T, archive string, opts ...hostfstest.Option) *hostfs.Root {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "host")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// What lies beside the root must never be seen through it.
	if err := os.WriteFile(filepath.Join(dir, "../secret"), []byte("outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := hostfstest.Extract(dir, []byte(archive), opts...); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

const links = `-- secret --
inside
-- a/b/file --
text
-- absolute --
-> /a/b/file
-- relative --
-> a/b/../b/file
-- chain --
-> /absolute
-- a/b/folder --
-> /a
-- up --
-> ../../../../../secret
-- a/b/up --
-> ../../../secret
-- host --
-> /../secret
-- loop --
-> /loop
-- broken --
-> /nothing
`

func TestLinksAreResolvedInsideTheRoot(t *testing.T) {
	root := tree(t, links)
	for path, want := range map[string]struct{ text, real string }{
		"/absolute":                        {"text", "/a/b/file"},
		"/relative":                        {"text", "/a/b/file"},
		"/chain":                           {"text", "/a/b/file"},
		"/a/b/folder/b/file":               {"text", "/a/b/file"},
		"a/b/file":                         {"text", "/a/b/file"},
		"/up":                              {"inside", "/secret"},
		"/a/b/up":                          {"inside", "/secret"},
		"/host":                            {"inside", "/secret"},
		"/../../secret":                    {"inside", "/secret"},
		"/a/../../../../../../../secret":   {"inside", "/secret"},
		"/a/b/folder/../../../../a/b/file": {"text", "/a/b/file"},
	} {
		t.Run(path, func(t *testing.T) {
			if got, err := root.ReadAttr(path); err != nil || got != want.text {
				t.Errorf("ReadAttr: %q, %v", got, err)
			}
			if got, err := root.ReadFile(path); err != nil || strings.TrimSpace(string(got)) != want.text {
				t.Errorf("ReadFile: %q, %v", got, err)
			}
			if got, err := root.Resolve(path); err != nil || got != want.real {
				t.Errorf("Resolve: %q, %v", got, err)
			}
			if !root.Exists(path) {
				t.Error("Exists: false")
			}
		})
	}
}

func TestErrorsWrapTheErrnoAndNameThePath(t *testing.T) {
	root := tree(t, links)
	fifo := root.Join("/fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(path string) error { _, err := root.ReadFile(path); return err }
	attr := func(path string) error { _, err := root.ReadAttr(path); return err }
	list := func(path string) error { _, err := root.ReadDir(path); return err }
	resolve := func(path string) error { _, err := root.Resolve(path); return err }
	for name, c := range map[string]struct {
		do     func(string) error
		path   string
		want   error
		absent bool
	}{
		"missing file":              {read, "/nothing", fs.ErrNotExist, true},
		"missing attribute":         {attr, "/nothing", unix.ENOENT, true},
		"broken link":               {attr, "/broken", unix.ENOENT, true},
		"link to itself":            {resolve, "/loop", unix.ELOOP, false},
		"file as folder":            {list, "/a/b/file", unix.ENOTDIR, true},
		"below a file":              {attr, "/a/b/file/x", unix.ENOTDIR, true},
		"an attribute that refuses": {attr, "/a", unix.EISDIR, false},
		"a folder as file":          {read, "/a", unix.EISDIR, false},
		"a FIFO does not hang":      {read, "/fifo", unix.EINVAL, false},
		"empty path":                {attr, "", unix.ENOENT, true},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.do(c.path)
			var pathErr *fs.PathError
			if !errors.Is(err, c.want) || !errors.As(err, &pathErr) || pathErr.Path != root.Join(c.path) {
				t.Errorf("error %v, want %v of %s", err, c.want, root.Join(c.path))
			}
			if hostfs.Absent(err) != c.absent {
				t.Errorf("Absent(%v) is %v", err, !c.absent)
			}
			if c.absent && c.path != "/a/b/file" && root.Exists(c.path) {
				t.Error("Exists: true")
			}
		})
	}
}

func TestReadsAreBounded(t *testing.T) {
	root := tree(t, "-- attr --\n"+strings.Repeat("x", 5000)+"\n-- space --\n \t v 1 \n\n-- empty --\n")
	write := func(name string, size int) {
		if err := os.WriteFile(root.Join(name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("/largest", 1<<20)
	write("/larger", 1<<20+1)
	if b, err := root.ReadFile("/largest"); err != nil || len(b) != 1<<20 {
		t.Errorf("a file of 1 MiB: %d bytes, %v", len(b), err)
	}
	if _, err := root.ReadFile("/larger"); !errors.Is(err, unix.EFBIG) {
		t.Errorf("a larger file: %v", err)
	}
	if s, err := root.ReadAttr("/attr"); err != nil || len(s) != 4096 {
		t.Errorf("a long attribute: %d bytes, %v", len(s), err)
	}
	if s, err := root.ReadAttr("/space"); err != nil || s != "v 1" {
		t.Errorf("white space: %q, %v", s, err)
	}
	if s, err := root.ReadAttr("/empty"); err != nil || s != "" {
		t.Errorf("an empty attribute: %q, %v", s, err)
	}
}

func TestHostPathTakesThePrefixOff(t *testing.T) {
	root := tree(t, links)
	if err := os.Symlink(root.Dir(), filepath.Join(filepath.Dir(root.Dir()), "alias")); err != nil {
		t.Fatal(err)
	}
	alias := filepath.Join(filepath.Dir(root.Dir()), "alias")
	for path, want := range map[string]string{
		root.Dir():                    "/",
		root.Dir() + "/a/b":           "/a/b",
		root.Dir() + "/a/../x":        "/x",
		root.Dir() + "/not/there/yet": "/not/there/yet",
		alias:                         "/",
		alias + "/a/b":                "/a/b",
		alias + "/not/there":          "/not/there",
		root.Dir() + "er":             "",
		filepath.Dir(root.Dir()):      "",
		"/etc":                        "",
		root.Dir() + "/../secret":     "",
		"":                            "",
	} {
		got, err := root.HostPath(path)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("HostPath(%q) = %q, %v; want %q", path, got, err, want)
		}
	}
	if got := root.Join("/../../x"); got != root.Dir()+"/x" {
		t.Errorf("Join leads out: %s", got)
	}
}

func TestTheMachineItselfIsARoot(t *testing.T) {
	root, err := hostfs.New("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if root.Dir() != "/" || root.Join("/proc") != "/proc" {
		t.Errorf("Dir %q, Join %q", root.Dir(), root.Join("/proc"))
	}
	if got, err := root.HostPath("/a/./b"); err != nil || got != "/a/b" {
		t.Errorf("HostPath: %q, %v", got, err)
	}
	if dev, err := root.Node("/dev/null"); err != nil || dev != (hostfs.Dev{Major: 1, Minor: 3}) {
		t.Errorf("/dev/null: %v, %v", dev, err)
	}
	if err := root.CheckNode("/dev/null", hostfs.Dev{Major: 1, Minor: 5}); err == nil {
		t.Error("a node with other numbers than sysfs passed")
	}
	if names, err := root.ReadDir("/proc/self"); err != nil || len(names) < 10 {
		t.Errorf("/proc/self: %d names, %v", len(names), err)
	}
}

func TestARootMustBeAFolder(t *testing.T) {
	root := tree(t, links)
	for _, dir := range []string{root.Join("/nothing"), root.Join("/a/b/file")} {
		if r, err := hostfs.New(dir); err == nil {
			r.Close()
			t.Errorf("%s is taken", dir)
		}
	}
}

func TestNodes(t *testing.T) {
	root := tree(t, "-- dev/port --\nc 243:0\n-- dev/link --\n-> port\n-- dev/dir/x --\n", hostfstest.PlainNodes())
	for _, node := range []string{"/dev/port", "/dev/link"} {
		if _, err := root.Node(node); !errors.Is(err, hostfs.ErrPlainNode) {
			t.Errorf("%s: %v", node, err)
		}
		if err := root.CheckNode(node, hostfs.Dev{Major: 243}); err != nil {
			t.Errorf("%s does not stand for its number: %v", node, err)
		}
		if o, err := root.Owner(node); err != nil || o.Mode != 0o600 || int(o.UID) != os.Getuid() {
			t.Errorf("%s: owner %+v, %v", node, o, err)
		}
	}
	if _, err := root.Node("/dev/dir"); err == nil || errors.Is(err, hostfs.ErrPlainNode) {
		t.Errorf("a folder as node: %v", err)
	}
	if err := root.CheckNode("/dev/none", hostfs.Dev{}); !hostfs.Absent(err) {
		t.Errorf("a missing node: %v", err)
	}
}

func TestParseDev(t *testing.T) {
	for text, want := range map[string]string{
		"243:0": "243:0", " 1:2\n": "1:2", "4294967295:1048575": "4294967295:1048575",
		"": "", ":": "", "1": "", "1:": "", ":1": "", "a:b": "", "-1:2": "", "+1:2": "", "1:2:3": "", "4294967296:0": "", "1: 2": "",
	} {
		dev, err := hostfs.ParseDev(text)
		if (err != nil) != (want == "") || err == nil && dev.String() != want {
			t.Errorf("ParseDev(%q) = %v, %v", text, dev, err)
		}
	}
}

func TestNamesComeSorted(t *testing.T) {
	root := tree(t, "-- d/b --\n-- d/a --\n-- d/C --\n-- d/10 --\n-- d/9 --\n")
	names, err := root.ReadDir("/d")
	if got := strings.Join(names, " "); err != nil || got != "10 9 C a b" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestALinkIsReadWhetherOrNotItLeadsAnywhere(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{"dangling": "../../nowhere/7", "outside": "/etc", "twice": "dangling"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, want := range map[string]string{"/dangling": "../../nowhere/7", "/outside": "/etc", "/twice": "dangling"} {
		if got, err := root.Readlink(name); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := root.Readlink("/none"); !hostfs.Absent(err) {
		t.Errorf("no link: %v", err)
	}
	if _, err := root.Readlink("/file"); err == nil || hostfs.Absent(err) {
		t.Errorf("a file: %v", err)
	}
}
