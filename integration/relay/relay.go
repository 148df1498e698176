// Package relay copies a connection to another one, for stand-ins of a cluster's network.
package relay

import (
	"context"
	"io"
	"net"
	"sync"
)

// Forward connects a client to what dial gives and copies both ways until both have ended, or ctx has. How one side ends
// reaches the other: a clean end as such, anything else as a reset.
func Forward(ctx context.Context, client net.Conn, dial func(context.Context) (net.Conn, error)) {
	server, err := dial(ctx)
	if err != nil {
		Reset(client)
		return
	}
	release := context.AfterFunc(ctx, func() { Reset(client); Reset(server) })
	defer release()
	var both sync.WaitGroup
	both.Go(func() { pipe(client, server) })
	both.Go(func() { pipe(server, client) })
	both.Wait()
	_, _ = client.Close(), server.Close()
}

func pipe(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		Reset(to)
		Reset(from)
		return
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

// Reset closes a connection without saying goodbye, as a program does that has died.
func Reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
