package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// through gives both ends of a connection that is relayed.
func through(t *testing.T, ctx context.Context) (client, server net.Conn) {
	t.Helper()
	var ends [2]net.Listener
	for i := range ends {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		ends[i] = l
	}
	go func() {
		accepted, err := ends[0].Accept()
		if err != nil {
			return // the test is over
		}
		Forward(ctx, accepted, func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", ends[1].Addr().String())
		})
	}()
	client, err := net.Dial("tcp", ends[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if server, err = ends[1].Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for _, c := range []net.Conn{client, server} {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

func TestACleanEndIsACleanEnd(t *testing.T) {
	client, server := through(t, t.Context())
	if _, err := client.Write([]byte("asked")); err != nil {
		t.Fatal(err)
	}
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(server); string(got) != "asked" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := server.Write([]byte("answered")); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); string(got) != "answered" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestADeadPeerAndAnEndedRelayAreResets(t *testing.T) {
	for name, end := range map[string]func(server net.Conn, stop func()){
		"the peer died":   func(server net.Conn, _ func()) { Reset(server) },
		"the relay ended": func(_ net.Conn, stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			client, server := through(t, ctx)
			end(server, stop)
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client reads: %v", err)
			}
		})
	}
}
