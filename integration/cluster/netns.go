package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// netns is a network namespace of the cluster's own, in which all of its programs are.
type netns struct{ own, ours *os.File }

func openNetns(pid int) (*netns, error) {
	own, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	ours, err := os.Open("/proc/self/ns/net")
	if err != nil {
		_ = own.Close()
		return nil, err
	}
	return &netns{own: own, ours: ours}, nil
}

func (n *netns) close() {
	_ = n.own.Close()
	_ = n.ours.Close()
}

// do runs f on a thread that is in the namespace. Sockets stay in the namespace that they were made in.
func (n *netns) do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(n.own.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("enter the cluster's network: %w", err)
			return
		}
		err := f()
		if unix.Setns(int(n.ours.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		} // else the thread ends with this goroutine, and nobody else is in the wrong namespace
		result <- err
	}()
	return <-result
}

// dial connects to an address of the cluster, which must be a number: names are looked up by other goroutines.
func (n *netns) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = n.do(func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

func (n *netns) listen(ctx context.Context, address string) (l net.Listener, err error) {
	err = n.do(func() error {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp", address)
		return err
	})
	return l, err
}
