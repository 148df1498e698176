package workdir

import (
	"os"
	"path/filepath"
	"strings"
)

// Kept is the folder in which the logs of a failed test of that name are kept: it is in
// $INLAY_ARTIFACTS or, without that, in inlay-failed in the folder for temporary files.
func Kept(name string) string {
	base := os.Getenv("INLAY_ARTIFACTS")
	if base == "" {
		base = filepath.Join(os.TempDir(), "inlay-failed")
	}
	return filepath.Join(base, strings.ReplaceAll(name, "/", "_"))
}

// Keep copies a file, under another name, to a folder that it makes if it is not there.
func Keep(file, to, name string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, name), text, 0o644)
}
