package apiserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// loopback is the part of 127.0.0.0/8 that is one cluster's: 127.N.0.0/16. All of it is on the loopback interface
// without being configured, so each program can have an address of its own and ports need not be looked for.
type loopback struct {
	apiserver, etcd, etcdPeer, controllers netip.AddrPort
	// services is the range of ClusterIPs.
	services netip.Prefix

	lock net.Listener
	mu   sync.Mutex
	last netip.Addr
}

// newLoopback takes a part that no other test on the machine has. An abstract socket is the lock: it goes with the
// process that holds it, and each network namespace, which has a loopback interface of its own, has its own ones.
func newLoopback() (*loopback, error) {
	var errs []error
	// 127.0 and 127.1 are where people put things by hand.
	for n := byte(16); n < 240; n++ {
		lock, err := net.Listen("unix", fmt.Sprintf("@inlay-apiserver-127.%d", n))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		at := func(c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{127, n, c, d}) }
		l := &loopback{
			apiserver:   netip.AddrPortFrom(at(128, 1), 6443),
			etcd:        netip.AddrPortFrom(at(128, 2), 2379),
			etcdPeer:    netip.AddrPortFrom(at(128, 2), 2380),
			controllers: netip.AddrPortFrom(at(128, 3), 10257),
			services:    netip.PrefixFrom(at(0, 0), 17),
			lock:        lock, last: at(129, 0),
		}
		if err := l.free(); err != nil {
			errs = append(errs, err, lock.Close())
			continue
		}
		return l, nil
	}
	return nil, fmt.Errorf("no part of 127.0.0.0/8 is free: %w", errors.Join(errs...))
}

// free tells whether nobody listens where the components will: a program of a killed test may not have ended yet.
func (l *loopback) free() error {
	for _, a := range []netip.AddrPort{l.apiserver, l.etcd, l.etcdPeer, l.controllers} {
		s, err := net.Listen("tcp", a.String())
		if err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// next gives an address that has not been given before.
func (l *loopback) next() netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = l.last.Next()
	return l.last
}

func (l *loopback) release() error { return l.lock.Close() }
