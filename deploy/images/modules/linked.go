package modules

import (
	"debug/buildinfo"
	"fmt"
	"slices"
	"strings"
)

// Std is the path under which Go's own library is listed.
const Std = "std"

// ID is a module at a version.
type ID struct {
	Path    string
	Version string // "" for the module that the program itself is from
	Sum     string // as in go.sum, "h1:…"; "" for the program's own module and for Go's library
}

func (i ID) String() string {
	if i.Version == "" {
		return i.Path
	}
	return i.Path + "@" + i.Version
}

// Linked lists what is linked into a program: its own module first, Go's library second, the others by path.
func Linked(program string) ([]ID, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", program, err)
	}
	if info.Main.Path == "" {
		return nil, fmt.Errorf("modules of %s: it was built outside of a module", program)
	}
	var others []ID
	for _, m := range info.Deps {
		if m.Replace != nil { // nobody could look it up under the name that the go.mod of others gives it
			return nil, fmt.Errorf("modules of %s: %s is replaced by %s", program, m.Path, m.Replace.Path)
		}
		others = append(others, ID{Path: m.Path, Version: m.Version, Sum: m.Sum})
	}
	slices.SortFunc(others, func(a, b ID) int { return strings.Compare(a.Path, b.Path) })
	// "go1.26.8 X:experiment" names the release first.
	release, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	return append([]ID{{Path: info.Main.Path}, {Path: Std, Version: release}}, others...), nil
}
