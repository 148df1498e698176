// Package policy is the node's copy of what each namespace may have: the mappings of the API server, in a file that
// the node's own processes read while the API server may be away. On a node with SGX it also has the limits of enclave
// memory of the node's pods, which a runtime is not told.
//
// A pod asks for a function by variables that anybody can write; the policy is what makes the wish a right. The file
// is written by inlay-deviceplugin, whole and by rename, readable by root only. Whoever can write it decides.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/inlay-project/inlay/internal/regularfile"
)

// Format is the newest format that this program understands.
const Format = 1

// maxFile bounds the file in bytes: some 100,000 mappings.
const maxFile = 64 << 20

// Mode is how a mapping's function comes into the card.
type Mode string

const (
	ModeAF     Mode = "af"     // it is there already; the container gets its port
	ModeRegion Mode = "region" // it is programmed for the container
)

// Function is an AcceleratorFunction that leads to a resource.
type Function struct {
	Name      string `json:"name"`
	Interface string `json:"interfaceId"`
	Function  string `json:"afuId"`
	Mode      Mode   `json:"mode"`
}

// Region is an FpgaRegion.
type Region struct {
	Name      string `json:"name"`
	Interface string `json:"interfaceId"`
}

// Namespace is what the pods of one namespace may have.
type Namespace struct {
	Functions []Function `json:"acceleratorFunctions,omitempty"`
	Regions   []Region   `json:"fpgaRegions,omitempty"`
}

// EPC is what the node's pods may have of the memory of enclaves.
type EPC struct {
	// Pods that have anything of SGX, by the UID that the kubelet gives the runtime.
	Pods map[string]EPCPod `json:"pods"`
}

// EPCPod is one pod's share.
type EPCPod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Containers with a limit of sgx.intel.com/epc, in bytes; init containers too.
	Containers map[string]int64 `json:"containers,omitempty"`
}

// Policy is the file's content.
type Policy struct {
	Format     int                  `json:"format"`
	Synced     time.Time            `json:"synced"` // when it was last known to equal the API server's state
	Namespaces map[string]Namespace `json:"namespaces"`
	// EPC is nil where nobody keeps it: then no enclave has a limit of its own.
	EPC *EPC `json:"epc,omitempty"`
}

// Errors that tell why a file grants nothing; a caller's message names the file.
var (
	ErrMissing = errors.New("policy file is missing")
	ErrNewer   = errors.New("policy file has a newer format")
	ErrOld     = errors.New("policy file is too old")
)

// Read reads a policy file. maxAge 0 is no limit; no file is young enough for a negative one. On any error nothing is
// granted.
func Read(path string, maxAge time.Duration, now time.Time) (*Policy, error) {
	f, err := regularfile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrMissing, path)
	}
	if err != nil {
		return nil, fmt.Errorf("policy file cannot be read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("policy file cannot be read: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("policy file %s is larger than %d bytes", path, maxFile)
	}
	p, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	if err := p.checkAge(maxAge, now); err != nil {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	return p, nil
}

// checkAge refuses a file from the future too: the clock was set back, so how old the file is nobody knows, and it
// would be young for ever.
func (p *Policy) checkAge(maxAge time.Duration, now time.Time) error {
	switch age := now.Sub(p.Synced); {
	case maxAge == 0:
		return nil
	case age > maxAge:
		return fmt.Errorf("%w (last in step with the API server %s ago, %s are allowed)", ErrOld, age.Round(time.Second), maxAge)
	case age < -maxAge:
		return fmt.Errorf("%w: its time lies %s in the future; the clock was set back", ErrOld, (-age).Round(time.Second))
	}
	return nil
}

// Parse reads a policy file's content. The format number is read first and alone: a newer file may look different.
func Parse(b []byte) (*Policy, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("policy file is not JSON: %w", err)
	}
	if head.Format > Format {
		return nil, fmt.Errorf("%w (%d, this program knows %d)", ErrNewer, head.Format, Format)
	}
	if head.Format < 1 {
		return nil, fmt.Errorf("policy file has no format number")
	}
	var p Policy
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // a field that we do not know might be a restriction
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("policy file is malformed: %w", err)
	}
	if d.More() {
		return nil, errors.New("policy file is malformed: something follows the object")
	}
	return &p, nil
}

// AllowsFunction tells whether a namespace has a mapping of that mode with exactly these ids.
func (p *Policy) AllowsFunction(namespace string, mode Mode, iface, function string) bool {
	return slices.ContainsFunc(p.Namespaces[namespace].Functions, func(f Function) bool {
		return f.Mode == mode && f.Interface == iface && f.Function == function
	})
}

// AllowsRegion tells whether a namespace has a mapping to a whole FME of an interface.
func (p *Policy) AllowsRegion(namespace, iface string) bool {
	return slices.ContainsFunc(p.Namespaces[namespace].Regions, func(r Region) bool { return r.Interface == iface })
}
