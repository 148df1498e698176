// Package atomicfile writes files that a reader sees whole or not at all.
package atomicfile

import (
	"fmt"
	"os"
	"path/filepath"
)

// Write puts data at path by rename: whoever is killed in the middle leaves the old file. The parent folder must
// exist. The file is synced before the rename, so that a power cut cannot leave an empty one either.
func Write(path string, data []byte, perm os.FileMode) (err error) {
	dir, base := filepath.Dir(path), filepath.Base(path) // Split would give "", and CreateTemp would take that for /tmp
	f, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
