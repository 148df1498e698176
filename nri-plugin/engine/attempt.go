package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/containerd/ttrpc"
)

var (
	errConnectionLost = errors.New("connection closed by the runtime")
	errNotInTime      = errors.New("not registered in time")
	errAbandoned      = errors.New("registration was given up")
	errConfiguredOnce = errors.New("configured already")
)

// attempt registers over conn with a stub of its own. On error everything that it started has ended and conn is closed.
func (e *Engine) attempt(ctx context.Context, conn net.Conn) (*session, error) {
	s := newSession(ctx, e, conn)
	options := []stub.Option{
		stub.WithLogger(stubLogger{e.log}),
		stub.WithConnection(s.trunk),
		stub.WithOnClose(s.onClose),
		stub.WithTTRPCOptions(nil, []ttrpc.ServerOpt{ttrpc.WithUnaryServerInterceptor(s.intercept)}),
	}
	if e.opts.Conn == nil {
		options = append(options, stub.WithPluginName(e.opts.Name), stub.WithPluginIdx(e.opts.Index))
	}
	st, err := stub.New(s, options...)
	if err != nil {
		s.trunk.Close()
		s.cancel()
		return nil, fmt.Errorf("NRI stub: %w", err)
	}
	s.stub = st

	started := make(chan error, 1)
	go func() { started <- st.Start(s.base) }()
	watchdog := time.NewTimer(e.timing.start)
	defer watchdog.Stop()
	returned := false
	select {
	case err = <-started:
		if err == nil {
			s.announce()
			return s, nil
		}
		returned = true
	case <-s.trunk.dead:
		err = errConnectionLost
	case <-watchdog.C:
		err = errNotInTime
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	err = fmt.Errorf("register with the runtime: %w", err)
	s.trunk.Close()
	s.cancel()
	if returned {
		s.awaitClose()
	} else if !s.abandon(started) {
		err = fmt.Errorf("%w: %w", ErrStuck, err)
	}
	s.end(oneLine(err.Error()))
	return nil, err
}

// abandon waits for a Start that was overtaken by the end of its connection, and frees it if it hangs. False if it
// hangs even so.
func (s *session) abandon(started <-chan error) bool {
	late, returned := await(started, s.engine.timing.grace)
	if !returned { // fault B of the stub, see doc.go
		if !s.engine.release(s) {
			return false
		}
		if late, returned = await(started, s.engine.timing.release); !returned {
			return false
		}
	}
	if late == nil {
		s.stub.Stop()
	}
	s.awaitClose()
	return true
}

func await(started <-chan error, limit time.Duration) (err error, returned bool) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err = <-started:
		return err, true
	case <-t.C:
		return nil, false
	}
}

// gate lets one Configure into the stub and no more: the stub hands each result to a channel with one place, so a
// third one would hang in it for ever. The engine itself may be that one, see deliverRefusal.
func (s *session) gate(byEngine bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.abandoned:
		return errAbandoned
	case s.configured:
		return errConfiguredOnce
	}
	s.configured, s.abandoned = true, byEngine
	return nil
}

// intercept sees each call of the runtime before the stub does.
func (s *session) intercept(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	if strings.HasSuffix(info.FullMethod, "/Configure") {
		if err := s.gate(false); err != nil {
			return nil, err
		}
	}
	return method(ctx, unmarshal)
}

// deliverRefusal frees a Start that waits for a Configure: it calls the method that the runtime would have called, and
// the session answers it with an error. False if this stub has no such method.
func deliverRefusal(s *session) bool {
	configure, ok := s.stub.(interface {
		Configure(context.Context, *api.ConfigureRequest) (*api.ConfigureResponse, error)
	})
	if !ok {
		return false
	}
	// Nothing sent: Start is not in RegisterPlugin yet and will fail there, for the connection is closed. And reading
	// the flag orders what follows after Start's writes to the stub. A Configure that is under way will free Start too.
	if !s.trunk.wrote.Load() || s.gate(true) != nil {
		return true
	}
	// A version in the request keeps the stub from guessing one, with a warning.
	_, _ = configure.Configure(s.base, &api.ConfigureRequest{NRIVersion: "v0.0.0"})
	return true
}
