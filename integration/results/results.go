// Package results writes the files of docs/results of which one run makes only a part.
package results

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// Mark begins the heading of a section.
const Mark = "## "

// File is a document of a head, which is written anew each time, and sections, each with a name of its own.
type File struct {
	Path  string
	Head  string   // has no Mark at a line's begin
	Names []string // of all sections that there may be
}

// Replace puts a section in the place of the one of its name, by rename, and keeps the others. text begins with Mark and
// the name in a line of their own. A file that is not there yet is made; one with a section that is none of Names is left
// as it is.
func (f File) Replace(name, text string) error {
	old, err := os.ReadFile(f.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	document, err := f.with(string(old), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return renameio.WriteFile(f.Path, []byte(document), 0o644)
}

// with is the document with another section. Sections are in the order of their names.
func (f File) with(document, name, text string) (string, error) {
	sections := map[string]string{name: text}
	_, rest, _ := strings.Cut("\n"+document, "\n"+Mark)
	for part := range strings.SplitSeq(rest, "\n"+Mark) {
		other, _, _ := strings.Cut(part, "\n")
		switch {
		case other == name, other == "":
		case slices.Contains(f.Names, other):
			sections[other] = Mark + part
		default:
			return "", fmt.Errorf("section %q is none of %s", other, strings.Join(f.Names, ", "))
		}
	}
	document = f.Head
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		document += "\n" + strings.TrimRight(sections[name], "\n") + "\n"
	}
	return document, nil
}
