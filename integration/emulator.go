package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"github.com/inlay-project/inlay/fpga/emulator"
)

// bitstreamStore is where a host keeps its bitstreams.
const bitstreamStore = "srv/intel.com/fpga"

// Bitstreams is the node's bitstream store, as processes outside containers see it.
func (n *Node) Bitstreams() string { return filepath.Join(n.HostRoot, bitstreamStore) }

// makeCards lays out the emulated cards and returns the command that containerd is to
// be run behind; nothing if the node has no cards.
func (n *Node) makeCards(o NodeOptions) (prefix []string) {
	n.t.Helper()
	if len(o.Cards) == 0 {
		return nil
	}
	emulator := n.Tools.Path("fpga-emulator")
	args := []string{"tree"}
	for _, c := range o.Cards {
		args = append(args, "--card", c)
	}
	if out, err := exec.CommandContext(n.ctx(), emulator, append(args, n.HostRoot)...).CombinedOutput(); err != nil {
		n.t.Fatalf("fpga-emulator tree: %v: %s", err, out)
	}
	if err := os.MkdirAll(n.Bitstreams(), 0o755); err != nil {
		n.t.Fatal(err)
	}
	prefix = []string{emulator, "--host-root", n.HostRoot, "--bitstreams", n.Bitstreams(), "--record", n.recorded, "--faults", n.faultsFile(), "--linger"}
	return append(append(prefix, o.EmulatorFlags...), "--")
}

// PutBitstream stores a bitstream for a function of an interface. The function inside
// it may be another one.
func (n *Node) PutBitstream(iface, function, inside string) {
	n.t.Helper()
	data, err := emulator.GBS(iface, inside, bitstreamBytes)
	if err != nil {
		n.t.Fatal(err)
	}
	n.PutFile(n.BitstreamFile(iface, function), data)
}

// bitstreamBytes is the payload of test bitstreams; the driver pads to four.
const bitstreamBytes = 64<<10 + 3

// BitstreamFile is where the store has the GBS of a function.
func (n *Node) BitstreamFile(iface, function string) string {
	return filepath.Join(n.Bitstreams(), iface, function+".gbs")
}

// PutFile writes a file by rename, with its folders.
func (n *Node) PutFile(path string, data []byte) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := renameio.WriteFile(path, data, 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// RemoveFile takes a file away that must be there.
func (n *Node) RemoveFile(path string) {
	n.t.Helper()
	if err := os.Remove(path); err != nil {
		n.t.Fatal(err)
	}
}

// SetFaults makes the emulated card misbehave from now on; nil heals it.
func (n *Node) SetFaults(f emulator.Faults) {
	n.t.Helper()
	if err := emulator.WriteFaults(n.faultsFile(), f); err != nil {
		n.t.Fatal(err)
	}
}

func (n *Node) faultsFile() string { return n.path("faults.json") }

// prRequests are the ioctl numbers of a partial reconfiguration: in-tree, OPAE driver.
var prRequests = [...]string{"0xb680", "0xb580"}

// Programmed are the partial reconfigurations that the emulated cards have ended so
// far, in the order of their ends.
func (n *Node) Programmed() []emulator.Record {
	n.t.Helper()
	data, err := os.ReadFile(n.recorded)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		n.t.Fatal(err)
	}
	var all []emulator.Record
	for line := range bytes.Lines(data) {
		var r emulator.Record
		if err := json.Unmarshal(line, &r); err != nil {
			continue // the last line, half written
		}
		if slices.Contains(prRequests[:], r.Request) {
			all = append(all, r)
		}
	}
	return all
}
