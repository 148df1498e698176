package emulator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// publish brings the tree and the registers in line with the port's state. Whoever reads afu_id sees the old value, the
// new one, or an error, never a part.
func (p *port) publish() error {
	if err := p.reset(); err != nil {
		return err
	}
	if p.noFile || p.withdrawn() {
		return nil
	}
	file := filepath.Join(p.dir, "afu_id")
	id, readable := p.reads()
	if !readable {
		return makeUnreadable(file)
	}
	return replaceFile(file, id+"\n")
}

// publish shows the interface id, or what a dead card reads.
func (f *fme) publish() error {
	if f.withdrawn() {
		return nil
	}
	id := f.iface
	if f.dead {
		id = allOnes
	}
	for _, file := range f.interfaceFiles() {
		if err := replaceFile(file, id+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// managerErrors are the lines of the FPGA manager's status file, in the order of the bits; the kernel has no line for
// the two later bits that only OPAE reports.
var managerErrors = [...]string{
	"reconfig operation error", "reconfig CRC error", "reconfig incompatible image", "reconfig IP protocol error", "reconfig fifo overflow error",
}

// manager writes the state and status files of the FPGA manager below a DFL FME. Trees without them stay without.
func (f *fme) manager(state string, status uint64) error {
	if f.driver != DFL || f.withdrawn() {
		return nil
	}
	dirs, _ := filepath.Glob(filepath.Join(f.dir, "dfl-fme-mgr.*/fpga_manager/fpga*")) // the pattern is a constant
	var lines strings.Builder
	for bit, line := range managerErrors {
		if status&(1<<bit) != 0 {
			lines.WriteString(line + "\n")
		}
	}
	for _, dir := range dirs {
		if err := errors.Join(replaceFile(filepath.Join(dir, "state"), state+"\n"), replaceFile(filepath.Join(dir, "status"), lines.String())); err != nil {
			return err
		}
	}
	return nil
}

// beside is a name for what is to take the place of path; emulators on one tree have different ones.
func beside(path string) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.emulator-%d", filepath.Base(path), os.Getpid()))
}

// replaceFile puts a new file in the place of what is there, in one step.
func replaceFile(path, text string) error {
	tmp := beside(path)
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	err := os.Rename(tmp, path)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, fs.ErrExist) { // the stand-in of makeUnreadable
		err = exchange(tmp, path)
	}
	return err
}

// makeUnreadable puts a directory in the file's place: like the driver's afu_id during a PR it can be opened, and
// reading it fails. (The errno is EISDIR; EBUSY is what openat2 under the emulator answers.)
func makeUnreadable(path string) error {
	if st, err := os.Lstat(path); err == nil && st.IsDir() {
		return nil
	}
	tmp := beside(path)
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	return exchange(tmp, path)
}

// exchange swaps the two and removes what was at path.
func exchange(tmp, path string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("%s: exchange: %w", path, err)
	}
	return os.Remove(tmp)
}
