package engine

import (
	"net"
	"sync"
	"sync/atomic"
)

// trunk is the connection under the stub. The engine owns it: it knows at once when it ends, whatever the stub is
// doing, and can end it.
type trunk struct {
	net.Conn
	once  sync.Once
	dead  chan struct{} // closed with the connection, whoever closed it
	wrote atomic.Bool   // something was sent: Start has got as far as RegisterPlugin
}

func newTrunk(conn net.Conn) *trunk { return &trunk{Conn: conn, dead: make(chan struct{})} }

func (t *trunk) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if err != nil {
		t.died()
	}
	return n, err
}

func (t *trunk) Write(p []byte) (int, error) {
	t.wrote.Store(true)
	return t.Conn.Write(p)
}

func (t *trunk) Close() error {
	t.died()
	return t.Conn.Close()
}

func (t *trunk) died() { t.once.Do(func() { close(t.dead) }) }
