package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/inlay-project/inlay/internal/unixsock"
)

// kubeletSocket is the kubelet's registration socket within the device plugin folder.
const kubeletSocket = "kubelet.sock"

// socketName gives the file name of a resource's socket: "<domain>-<type>.sock" where the kubelet can dial that. It dials
// by full path, of which an address holds 107 bytes; an af-… name just fits into /var/lib/kubelet/device-plugins. In a
// longer folder the type is cut and a hash of the whole name makes it one of its kind again. An error says that not even
// that fits: then no kubelet can dial any plugin in this folder, its own registration socket least of all.
func socketName(folder, resource string) (string, error) {
	full := strings.ReplaceAll(resource, "/", "-")
	room := unixsock.MaxPath - len(folder) - len("/") - len(".sock")
	if len(full) <= room {
		return full + ".sock", nil
	}
	sum := sha256.Sum256([]byte(resource))
	mark := "~" + hex.EncodeToString(sum[:6])
	keep := min(max(room-len(mark), 0), len(full))
	name := full[:keep] + mark + ".sock"
	if path := filepath.Join(folder, name); len(path) > unixsock.MaxPath {
		return name, fmt.Errorf("socket path %s has %d bytes, a unix socket address holds %d: the kubelet cannot dial it", path, len(path), unixsock.MaxPath)
	}
	return name, nil
}

// probeTimeout is for the connection to a socket that somebody else may serve.
const probeTimeout = time.Second

// hold is a connection to another process that serves the same resource, kept to learn when that process goes away.
type hold struct {
	conn    net.Conn
	process string // what may be seen of it
	gone    chan struct{}
}

// holdPeer connects to a socket; an error means that nobody serves it.
func holdPeer(ctx context.Context, path string) (*hold, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := unixsock.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	// The beginning of HTTP/2 with empty settings: a gRPC server closes a connection that stays silent. A peer that is
	// gone before it reads that is found by wait.
	_, _ = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	process := unixsock.Server(conn)
	if process == "" {
		process = "not to be seen from here"
	}
	return &hold{conn: conn, process: process, gone: make(chan struct{})}, nil
}

// wait returns when the peer has gone or the hold was closed.
func (h *hold) wait() {
	_, _ = io.Copy(io.Discard, h.conn) // however it ended, it ended
	h.conn.Close()
	close(h.gone)
}

// alive reports whether the peer is still there.
func (h *hold) alive() bool {
	select {
	case <-h.gone:
		return false
	default:
		return true
	}
}
