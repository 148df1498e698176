package server

import (
	"net"
	"sync"
)

// connections is a listener that takes most connections at a time, and of one address no more than are still free: half
// of them if it is alone, and there is always room for another one. What is too much is closed at once, before a
// handshake.
type connections struct {
	net.Listener
	most int

	mu   sync.Mutex
	open int
	of   map[string]int // by address, those that have any
}

func newConnections(l net.Listener, most int) *connections {
	return &connections{Listener: l, most: most, of: map[string]int{}}
}

// Accept waits for a connection that there is room for.
func (l *connections) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		caller := callerOf(c.RemoteAddr().String())
		if l.enter(caller) {
			return &connection{Conn: c, leave: sync.OnceFunc(func() { l.leave(caller) })}, nil
		}
		_ = c.Close() // nobody to tell
	}
}

func (l *connections) enter(caller string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[caller] >= l.most-l.open {
		return false
	}
	l.open++
	l.of[caller]++
	return true
}

func (l *connections) leave(caller string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.of[caller]--; l.of[caller] == 0 {
		delete(l.of, caller)
	}
}

// connection gives its place back when it is closed.
type connection struct {
	net.Conn
	leave func()
}

func (c *connection) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}

// callerOf is an address without its port.
func callerOf(remote string) string {
	caller, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return caller
}
