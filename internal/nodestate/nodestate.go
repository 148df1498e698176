// Package nodestate is what inlay-deviceplugin tells the node's other processes of its own settings: one small file in
// the run folder, written by rename.
package nodestate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/inlay-project/inlay/internal/atomicfile"
)

// Name is the file's name in the run folder.
const Name = "node.json"

// State is how FPGA devices are handed out on this node.
type State struct {
	Mode  string `json:"mode"`  // af, region, regiondevel
	Grant string `json:"grant"` // nri, allocate
}

// ErrUnknown says that nobody has written the file yet.
var ErrUnknown = errors.New("inlay-deviceplugin has not told this node's mode yet")

// Write makes the state known. The run folder is made if need be.
func Write(runDir string, s State) error {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("node state: %w", err)
	}
	return atomicfile.Write(filepath.Join(runDir, Name), append(b, '\n'), 0o600)
}

// Read gives the state, or an error that wraps ErrUnknown if there is none.
func Read(runDir string) (State, error) {
	var s State
	name := filepath.Join(runDir, Name)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%w (%s)", ErrUnknown, name)
	}
	if err != nil {
		return s, fmt.Errorf("node state: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("node state %s: %w", name, err)
	}
	return s, nil
}
