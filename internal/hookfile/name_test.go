package hookfile_test

import (
	"path"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/internal/hookfile"
)

func TestEachBuildHasAName(t *testing.T) {
	d := hookfile.Digest{0x0a, 0x1b, 0x2c, 0x3d, 0x4e}
	for version, want := range map[string]string{
		"v1.2.3":                         "inlay-hook-v1.2.3-0a1b2c3d",
		"v1.2.3-4-gabcdef0-dirty":        "inlay-hook-v1.2.3-4-gabcdef0-dirty-0a1b2c3d",
		"":                               "inlay-hook-devel-0a1b2c3d",
		"v1.0.0+meta":                    "inlay-hook-v1.0.0_meta-0a1b2c3d",
		"../../etc/passwd":               "inlay-hook-.._.._etc_passwd-0a1b2c3d",
		"ä\n":                            "inlay-hook-__-0a1b2c3d",
		strings.Repeat("v", 100) + "end": "inlay-hook-" + strings.Repeat("v", 64) + "-0a1b2c3d",
	} {
		if got := hookfile.FileName(version, d); got != want || !hookfile.Versioned(got) {
			t.Errorf("%q: %s, want %s", version, got, want)
		}
	}
}

func TestOtherNamesAreNotVersions(t *testing.T) {
	for _, name := range []string{
		"", "inlay-hook", "inlay-hook-", "inlay-hook--0a1b2c3d", "inlay-hook-0a1b2c3d", "inlay-hook-v1-0a1b2c3", "inlay-hook-v1-0a1b2c3d4",
		"inlay-hook-v1-0A1B2C3D", "inlay-hook-v1_0a1b2c3d", "inlay-hooker-v1-0a1b2c3d", "xinlay-hook-v1-0a1b2c3d", "inlay-hook-v/1-0a1b2c3d",
		"inlay-hook-v 1-0a1b2c3d", "inlay-hook-v1-0a1b2c3d\n", ".inlay-hook-v1-0a1b2c3d", "inlay-hook-" + strings.Repeat("v", 65) + "-0a1b2c3d",
	} {
		if hookfile.Versioned(name) {
			t.Errorf("%q", name)
		}
	}
}

func FuzzFileName(f *testing.F) {
	f.Add("v1.2.3", "inlay-hook-v1-0a1b2c3d")
	f.Add("../x", "inlay-hook-..-00000000")
	f.Fuzz(func(t *testing.T, version, name string) {
		got := hookfile.FileName(version, hookfile.Digest{1})
		if !hookfile.Versioned(got) || path.Base(got) != got || len(got) > 100 {
			t.Errorf("%q: %q", version, got)
		}
		if hookfile.Versioned(name) && (path.Base(name) != name || hookfile.Leftover(name) || name == hookfile.Name) {
			t.Errorf("%q is taken for a version", name)
		}
	})
}
