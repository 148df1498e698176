package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/inlay-project/inlay/fpga/emulator"
)

// bitstreamStore is where a host keeps its bitstreams.
const bitstreamStore = "srv/intel.com/fpga"

// Bitstreams is the node's bitstream store, as this process sees it.
func (c *Cluster) Bitstreams() string { return c.HostPath(bitstreamStore) }

// RunDir is Inlay's run folder on the node, as this process sees it.
func (c *Cluster) RunDir() string { return c.HostPath("run/inlay") }

// BitstreamFile is where the store has the GBS of a function.
func (c *Cluster) BitstreamFile(iface, function string) string {
	return filepath.Join(c.Bitstreams(), iface, function+".gbs")
}

// BitstreamBytes is the size of the payload of PutBitstream's files; the driver pads to four.
const BitstreamBytes = 64<<10 + 3

// PutBitstream stores a bitstream for a function of an interface, by rename. The function inside it may be another one.
func (c *Cluster) PutBitstream(iface, function, inside string) error {
	data, err := emulator.GBS(iface, inside, BitstreamBytes)
	if err != nil {
		return err
	}
	file := c.BitstreamFile(iface, function)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(file, data, 0o644)
}

// SetFaults makes the emulated cards misbehave from now on; nil heals them.
func (c *Cluster) SetFaults(f emulator.Faults) error { return emulator.WriteFaults(c.FaultsFile(), f) }

// FaultsFile is what SetFaults writes and the emulator follows.
func (c *Cluster) FaultsFile() string { return c.path("faults.json") }

// recorded is the emulator's record of ioctl calls.
func (c *Cluster) recorded() string { return c.path("emulator.jsonl") }

// prRequests are the ioctl numbers of a partial reconfiguration: in-tree, OPAE driver.
var prRequests = map[string]bool{"0xb680": true, "0xb580": true}

// Programmed are the partial reconfigurations that the cards have ended so far, in the order of their ends.
func (c *Cluster) Programmed() ([]emulator.Record, error) {
	data, err := os.ReadFile(c.recorded())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []emulator.Record
	for line := range bytes.Lines(data) {
		var r emulator.Record
		if json.Unmarshal(line, &r) == nil && prRequests[r.Request] { // the last line may be half written
			all = append(all, r)
		}
	}
	return all, err
}
