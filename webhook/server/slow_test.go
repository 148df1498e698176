package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a network inside a test: what goes over it takes no time, so only synctest's clock counts.
type wire struct {
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newWire() *wire { return &wire{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.ended:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.ended) })
	return nil
}

func (w *wire) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} } // as the certificate says

// dial connects a client that has that address.
func (w *wire) dial(from net.IP) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case w.conns <- remote{server, &net.TCPAddr{IP: from, Port: 50000}}:
		return client, nil
	case <-w.ended:
		return nil, net.ErrClosed
	}
}

// remote is the server's end.
type remote struct {
	net.Conn
	addr net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.addr }

// over lets a server be reached over the wire and not at its port.
func (w *wire) over(t *testing.T) func(*Server) {
	return func(s *Server) {
		t.Helper()
		if err := s.listener.Close(); err != nil {
			t.Fatal(err)
		}
		s.listener = newConnections(w, maxConnections)
	}
}

// tally counts a server's connections.
type tally struct {
	mu    sync.Mutex
	came  int
	asked int // has sent a whole header
	left  int
}

func (c *tally) state(_ net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case http.StateNew:
		c.came++
	case http.StateActive:
		c.asked++
	case http.StateClosed:
		c.left++
	}
}

func (c *tally) now() (came, asked, left int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.came, c.asked, c.left
}

// slow is a client that sends the beginning of a request and nothing more.
type slow struct {
	done  chan struct{} // closed when it was cut off
	ended time.Time
}

func newSlow(t *testing.T, w *wire, from net.IP, text string) *slow {
	t.Helper()
	raw, err := w.dial(from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	s := &slow{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_, _ = io.Copy(io.Discard, conn) // with an answer or without
		s.ended = time.Now()
	}()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return s
}

// The clock is synctest's: it goes on only when nobody has anything to do, however busy the machine is.
func TestSlowClientsAreCutOffAndHinderNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 300
		w, conns := newWire(), &tally{}
		r := run(t, 0, nil, w.over(t), func(s *Server) { s.http.ConnState = conns.state })
		theirs, other := net.IPv4(10, 0, 0, 2), net.IPv4(10, 0, 0, 3)
		from := theirs
		r.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return w.dial(from) }

		began := time.Now()
		var all []*slow
		for i := range clients { // from one address, half of them small: more than its share
			length := []int{smallBody, MaxBody}[i%2]
			text := "POST " + MutatePath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(length) + "\r\n"
			if i%4 < 2 {
				text += "\r\n{"
			}
			all = append(all, newSlow(t, w, theirs, text))
		}
		synctest.Wait()
		if came, asked, left := conns.now(); came != clients || asked != clients/2 || left != 0 {
			t.Fatalf("of %d slow clients %d came, %d sent a header, %d left", clients, came, asked, left)
		}
		answers := func(who string) {
			t.Helper()
			if response, err := r.post(usual()); err != nil || response.status != http.StatusOK {
				t.Errorf("%s: %v, %v", who, response, err)
			}
			r.client.CloseIdleConnections()
		}
		from = other
		answers("another address meanwhile")
		if took := time.Since(began); took != 0 {
			t.Errorf("another address had to wait for %v", took)
		}
		time.Sleep(readHeaderTimeout * 3 / 4)
		from = theirs
		answers("the same address, when there is room again")
		time.Sleep(time.Until(began.Add(readTimeout)))
		synctest.Wait()
		for i, s := range all {
			select {
			case <-s.done:
				if took := s.ended.Sub(began); took < readHeaderTimeout || took > readTimeout || i%4 >= 2 && took != readHeaderTimeout {
					t.Errorf("connection %d was cut off after %v", i, took)
				}
			default:
				t.Errorf("connection %d is still open", i)
			}
		}

		time.Sleep(time.Second) // net/http keeps a connection for half of one, for the client to read its answer
		synctest.Wait()
		if came, _, left := conns.now(); came != clients+2 || left != came {
			t.Errorf("of %d connections %d have ended", came, left)
		}
		b := r.handler.budget
		if !b.small.TryAcquire(smallBodies) || !b.large.TryAcquire(largeBodies) {
			t.Error("memory is held for requests that have ended")
		}
		for caller, s := range b.callers {
			if s.users != 0 || !s.small.TryAcquire(callerSmall) || !s.large.TryAcquire(callerLarge) {
				t.Errorf("%s holds of its share: %d users", caller, s.users)
			}
		}
	})
}

func TestIdleConnectionsOfOneAddressLeaveRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, conns := newWire(), &tally{}
		r := run(t, 0, nil, w.over(t), func(s *Server) { s.http.ConnState = conns.state })
		from := net.IPv4(10, 0, 0, 2)
		r.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return w.dial(from) }
		for range maxConnections + 1 {
			c, err := w.dial(from)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}
		synctest.Wait()
		if came, _, left := conns.now(); came != maxConnections/2 || left != 0 {
			t.Errorf("of %d connections %d were taken, %d have ended", maxConnections+1, came, left)
		}
		if response, err := r.post(usual()); err == nil {
			t.Errorf("one more of that address: %+v", response)
		}
		from = net.IPv4(10, 0, 0, 3)
		if response, err := r.post(usual()); err != nil || response.status != http.StatusOK {
			t.Errorf("another address: %+v, %v", response, err)
		}
		time.Sleep(readHeaderTimeout) // nobody has shaken hands
		synctest.Wait()
		from = net.IPv4(10, 0, 0, 2)
		r.client.CloseIdleConnections()
		if response, err := r.post(usual()); err != nil || response.status != http.StatusOK {
			t.Errorf("the first address afterwards: %+v, %v", response, err)
		}
	})
}

func TestStalledLargeBodiesOfOneAddressLeaveRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		r := run(t, 0, nil, w.over(t))
		for range 4 {
			newSlow(t, w, net.IPv4(10, 0, 0, 2), "POST "+MutatePath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "+
				strconv.Itoa(MaxBody)+"\r\n\r\n{")
		}
		synctest.Wait()
		r.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			return w.dial(net.IPv4(10, 0, 0, 3))
		}
		began := time.Now()
		for range 2 {
			large := usual() + strings.Repeat(" ", MaxBody-len(usual()))
			if response, err := r.post(large); err != nil || response.status != http.StatusOK || time.Since(began) != 0 {
				t.Errorf("another address, after %v: %+v, %v", time.Since(began), response, err)
			}
		}
	})
}
