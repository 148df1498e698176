package region

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/internal/atomicfile"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// State says how a load record came about.
type State string

const (
	// Loaded: the port was programmed and read back.
	Loaded State = "loaded"
	// Programming: a reconfiguration was begun. Found later it means that its process was killed.
	Programming State = "programming"
	// Failed: a reconfiguration ended badly; the port may hold anything, or be left in reset.
	Failed State = "failed"
	// Foreign: a container with the FME itself may have programmed anything.
	Foreign State = "foreign"
)

// Record is what is known of a port's function beyond its AFU id: which file it came from. Sysfs cannot tell two
// AOCX files with one AFU id apart, nor a GBS file from its replacement.
type Record struct {
	State    State              `json:"state"`
	Function fpga.FunctionID    `json:"function,omitempty"`
	AFU      fpga.AFUID         `json:"afu,omitempty"` // what the port reads back as
	File     bitstream.Identity `json:"file"`
	Boot     string             `json:"boot"` // the kernel's boot id: a reboot loads the card anew
	Time     time.Time          `json:"time"`
}

// Holds tells whether a port that reads back as afu holds function fn from file. Without a record of this boot sysfs
// is believed, which suffices for a GBS and never for an AOCX.
func Holds(afu fpga.AFUID, record *Record, boot string, fn fpga.FunctionID, file bitstream.Identity) bool {
	if afu == "" {
		return false
	}
	if record == nil || record.Boot != boot {
		want, isAFU := fn.AFU()
		return isAFU && want == afu
	}
	return record.State == Loaded && record.Function == fn && record.AFU == afu && record.File == file
}

// BootID reads the id that the kernel drew at boot.
func BootID(root *hostfs.Root) (string, error) {
	id, err := root.ReadAttr("/proc/sys/kernel/random/boot_id")
	if hostfs.Absent(err) { // a tree made for tests has no /proc
		var b []byte
		b, err = os.ReadFile("/proc/sys/kernel/random/boot_id")
		id = strings.TrimSpace(string(b))
	}
	if err == nil && id == "" {
		err = errors.New("the kernel's file is empty")
	}
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return id, nil
}

// recordFile is keyed by what does not change when cards are numbered anew.
func recordFile(runDir string, fme *fpga.FME, port uint32) string {
	return filepath.Join(runDir, fmt.Sprintf("load-%s-%d.json", fme.PCI.Address, port))
}

// ReadRecord reads the load record of a port; nil without error if there is none. A record that cannot be understood
// is an error: the caller then knows nothing of the port.
func ReadRecord(runDir string, fme *fpga.FME, port uint32) (*Record, error) {
	file := recordFile(runDir, fme, port)
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO of that name must not hold us up
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load record: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("load record %s is not a regular file", file)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return nil, fmt.Errorf("load record: %w", err)
	}
	r, err := parseRecord(b)
	if err != nil {
		return nil, fmt.Errorf("load record %s: %w", file, err)
	}
	return r, nil
}

// maxRecord bounds a record's file in bytes.
const maxRecord = 16 << 10

// parseRecord takes only what writeRecord can have written. A record without a boot id, say, must not pass for one
// from before a reboot: sysfs would be believed.
func parseRecord(b []byte) (*Record, error) {
	if len(b) > maxRecord {
		return nil, fmt.Errorf("it is longer than %d bytes", maxRecord)
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	switch {
	case r.Boot == "":
		return nil, errors.New("it has no boot id")
	case r.State == Foreign:
		return &r, nil
	case r.State != Loaded && r.State != Programming && r.State != Failed:
		return nil, fmt.Errorf("state %.40q is not known", r.State)
	}
	fn, fnErr := fpga.ParseFunctionID(string(r.Function))
	afu, afuErr := fpga.ParseAFUID(string(r.AFU))
	if fnErr != nil || afuErr != nil || fn != r.Function || afu != r.AFU {
		return nil, fmt.Errorf("function %.80q, AFU %.80q are not ids", r.Function, r.AFU)
	}
	return &r, nil
}

func writeRecord(runDir string, fme *fpga.FME, port uint32, r Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("load record: %w", err)
	}
	if err := atomicfile.Write(recordFile(runDir, fme, port), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("load record: %w", err)
	}
	return nil
}
