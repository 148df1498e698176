package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// Severity is xpumd's of one aspect of a device. A number beyond these is worse yet.
type Severity uint64

// Severities from which on a device can count as unhealthy.
const (
	unknown Severity = iota
	_                // ok
	Warning
	Critical
	Failed
)

// XPUMD follows the health stream of XPU Manager 2.
func XPUMD(c Config) *Source {
	s := newSource("xpumd", c)
	s.ask = s.follow
	return s
}

// errOld ends a stream that has to be renewed.
var errOld = errors.New("the stream is to be renewed")

// follow has one stream after the other. What one has said holds until the next one has said it anew, or ends.
func (s *Source) follow(ctx context.Context, conn *grpc.ClientConn) {
	for attempt := 0; ; attempt++ {
		heard, err := s.stream(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errOld) {
			attempt = -1
			continue
		}
		s.forget(s.trouble(err))
		if heard {
			attempt = 0
		}
		s.c.Log.WithError(err).Debug("health stream ended")
		if !wait(ctx, attempt) {
			return
		}
		conn.ResetConnectBackoff()
	}
}

// stream reads one stream until it ends, says nothing at first, or is old; heard tells whether it said anything. xpumd
// says all that it knows at once, and may have nothing to tell for days after that.
func (s *Source) stream(ctx context.Context, conn *grpc.ClientConn) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(s.c.Timeout, func() { cancel(fmt.Errorf("no answer within %s", s.c.Timeout)) })
	defer func() { limit.Stop() }()
	fail := func(err error) (bool, error) {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return heard, err
	}
	desc := &grpc.StreamDesc{StreamName: "WatchDeviceHealth", ServerStreams: true}
	stream, err := conn.NewStream(ctx, desc, "/deviceinfo.DeviceInfo/WatchDeviceHealth")
	if err != nil {
		return fail(err)
	}
	if err := stream.SendMsg(empty{}); err != nil {
		return fail(err)
	}
	if err := stream.CloseSend(); err != nil {
		return fail(err)
	}
	for {
		m := &devices{}
		if err := stream.RecvMsg(m); err != nil {
			return fail(err)
		}
		if !heard {
			heard = true
			limit.Stop()
			limit = time.AfterFunc(s.c.Renew, func() { cancel(errOld) })
		}
		s.mu.Lock()
		s.last = m
		s.mu.Unlock()
		s.takeLast()
	}
}

// forget drops what a stream has said, because it has ended.
func (s *Source) forget(why string) {
	s.mu.Lock()
	s.last = nil
	s.mu.Unlock()
	for _, address := range s.tracker.addresses() {
		s.tracker.lost(address, why)
	}
}

// takeLast notes what the last message says of the cards that matter. Each message lists all devices of the node.
func (s *Source) takeLast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return
	}
	said := make(map[string]*xpumDevice, len(s.last.list))
	for i := range s.last.list {
		said[strings.ToLower(s.last.list[i].address)] = &s.last.list[i]
	}
	for _, address := range s.tracker.addresses() {
		switch d := said[address]; {
		case d == nil:
			s.tracker.lost(address, "xpumd does not list the device")
		case d.worst().severity == unknown:
			s.tracker.lost(address, "xpumd does not know the device's health")
		default:
			s.tracker.answered(address, d.verdict(s.c.Severity))
		}
	}
}

// worst is the aspect of the highest severity; of several the first.
func (d *xpumDevice) worst() domain {
	worst := domain{}
	for _, h := range d.domains {
		if h.severity > worst.severity {
			worst = h
		}
	}
	return worst
}

func (d *xpumDevice) verdict(from Severity) Verdict {
	worst := d.worst()
	severity := "failed"
	switch {
	case worst.severity < from:
		return good()
	case worst.severity == Warning:
		severity = "warning"
	case worst.severity == Critical:
		severity = "critical"
	}
	text := "xpumd says " + severity
	for _, more := range []string{worst.name, cmp.Or(worst.reason, worst.message)} {
		if more != "" {
			text += ": " + more
		}
	}
	return bad("%s", text)
}
