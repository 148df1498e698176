package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// Event is one line of the audit log, as far as tests look at it. Writes of pods and of fpga.intel.com are recorded.
type Event struct {
	Verb        string
	ObjectRef   struct{ Resource, Namespace, Name, Subresource string }
	User        struct{ Username string }
	Annotations map[string]string
	// ResponseStatus.Code is the HTTP status.
	ResponseStatus struct {
		Code    int
		Message string
	}
}

func (c *Cluster) auditLog() string { return c.path("audit.jsonl") }

// Audit returns the recorded events of a namespace, oldest first. An event is written just after its answer.
func (c *Cluster) Audit(namespace string) ([]Event, error) {
	data, err := os.ReadFile(c.auditLog())
	if err != nil {
		return nil, err
	}
	var events []Event
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // being written
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", c.auditLog(), err)
		}
		if e.ObjectRef.Namespace == namespace {
			events = append(events, e)
		}
	}
	return events, nil
}
