// Package buildinfo tells which build of Inlay a process is: its version, its commit and the Go that compiled it.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version and commit are stamped by the Makefile (-ldflags "-X …/internal/buildinfo.version=v1.2.3"). Nothing writes
// them at run time.
var version, commit string

// Info describes a build.
type Info struct {
	Version string // "v1.2.3", "v1.2.3-4-gabcdef0-dirty", or "devel" where nobody stamped one
	Commit  string // full hash, or "" where the build had no repository
	Go      string // "go1.26.8"
}

// Get reads what the linker and the compiler left in this binary.
func Get() Info {
	info := Info{Version: version, Commit: commit, Go: runtime.Version()}
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		return info.withDefaults()
	}
	if info.Version == "" && bi.Main.Version != "(devel)" {
		info.Version = bi.Main.Version // go install module@version
	}
	for _, s := range bi.Settings {
		if s.Key == "vcs.revision" && info.Commit == "" {
			info.Commit = s.Value
		}
	}
	return info.withDefaults()
}

func (i Info) withDefaults() Info {
	if i.Version == "" {
		i.Version = "devel"
	}
	return i
}

// String is what --version prints after the program's name: "v1.2.3 (commit 0123456789ab, go1.26.8)".
func (i Info) String() string {
	commit := ""
	if i.Commit != "" {
		commit = fmt.Sprintf("commit %.12s, ", i.Commit)
	}
	return fmt.Sprintf("%s (%s%s)", i.Version, commit, i.Go)
}
