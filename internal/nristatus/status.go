package nristatus

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// SocketName is the file name of the status socket in the run folder.
const SocketName = "nri.sock"

// AskTimeout bounds Ask where the caller's context has no earlier deadline.
const AskTimeout = 300 * time.Millisecond

// maxAnswer bounds what Ask reads: the peer is a root process, but a wrong path may lead to any socket.
const maxAnswer = 16 << 10

// Status is what inlay-nri says about its connection to the container runtime.
type Status struct {
	// Connected: registered with and configured by the runtime, and the connection stands.
	Connected bool `json:"connected"`
	// Synchronized: the runtime has also sent its pods and containers; from then on it asks about each new container.
	Synchronized bool `json:"synchronized"`
	// Runtime and RuntimeVersion are what the runtime calls itself, e.g. "containerd" and "2.4.2".
	Runtime        string `json:"runtime"`
	RuntimeVersion string `json:"runtimeVersion"`
	// Version is inlay-nri's own.
	Version string `json:"version"`
	// NRIVersion is the runtime's NRI library as far as it is known, e.g. "v0.12.3".
	NRIVersion string `json:"nriVersion,omitempty"`
	// Since is when Connected last changed.
	Since time.Time `json:"since,omitzero"`
	// LastError is why the last connection could not be made or ended; empty while connected.
	LastError string `json:"lastError,omitempty"`
	// Reconnects counts the connections made after the first one.
	Reconnects uint64 `json:"reconnects"`
}

// Ready returns nil if the runtime asks inlay-nri about new containers, else one line saying why it does not.
func (s Status) Ready() error {
	switch {
	case !s.Connected && s.LastError != "":
		return fmt.Errorf("inlay-nri is not connected to the container runtime: %s", s.LastError)
	case !s.Connected:
		return errors.New("inlay-nri is not connected to the container runtime")
	case !s.Synchronized:
		return fmt.Errorf("inlay-nri is connected to %s %s but not synchronized yet", s.Runtime, s.RuntimeVersion)
	}
	return nil
}

// Ask reads the status from the socket at path. Its errors say that inlay-nri gave no answer, and why.
func Ask(ctx context.Context, path string) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	var none Status
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return none, fmt.Errorf("no answer from inlay-nri: %w", err)
	}
	defer conn.Close()
	// The caller may also cancel: closing the connection ends the read at once.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(conn, maxAnswer)).ReadBytes('\n')
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return none, fmt.Errorf("no answer from inlay-nri on %s: %w", path, err)
	}
	var s Status
	if err := json.Unmarshal(line, &s); err != nil {
		return none, fmt.Errorf("answer of inlay-nri on %s: %w", path, err)
	}
	return s, nil
}
