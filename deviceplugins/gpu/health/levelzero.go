package health

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// Codes of the Level-Zero API (ze_result_t) that mean something here.
const (
	deviceLost         = 0x70000001
	notAvailable       = 0x70010001
	unsupportedFeature = 0x78000003
)

// absent tells whether a fault is that the card does not have what was asked for: a sensor, the state of its bus.
func (f fault) absent() bool { return f.code == notAvailable || f.code == unsupportedFeature }

// atOnce is how many cards are asked for at a time: one that hangs must not make the others wait for all its deadline.
const atOnce = 8

// LevelZero asks the service `Levelzero`, a process beside this one that has the GPU's libraries.
func LevelZero(c Config) *Source {
	s := newSource("the Level-Zero service", c)
	s.ask = s.poll
	return s
}

// poll asks for every card each period, and at once when there is a new one.
func (s *Source) poll(ctx context.Context, conn *grpc.ClientConn) {
	tick := time.NewTicker(s.c.Period)
	defer tick.Stop()
	for {
		var round errgroup.Group
		round.SetLimit(atOnce)
		for _, address := range s.tracker.addresses() {
			round.Go(func() error {
				s.pollOne(ctx, conn, address)
				return nil
			})
		}
		_ = round.Wait() // none fails
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.more:
		}
	}
}

func (s *Source) pollOne(ctx context.Context, conn *grpc.ClientConn, address string) {
	v, why, err := s.examine(ctx, conn, address)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.c.Log.WithError(err).WithField("device", address).Debug("no health")
		s.tracker.lost(address, s.trouble(err))
	case why != "":
		s.tracker.lost(address, why)
	default:
		s.tracker.answered(address, v)
	}
}

// examine asks for one card: a verdict, or why the service, although it answers, has none.
func (s *Source) examine(ctx context.Context, conn *grpc.ClientConn, address string) (v Verdict, why string, err error) {
	var h deviceHealth
	if err := call(ctx, s.c.Timeout, conn, "/Levelzero/GetDeviceHealth", deviceID{address: address}, &h); err != nil {
		return Verdict{}, "", err
	}
	switch {
	case h.fault.code == deviceLost:
		return bad("the device is lost (%s)", h.fault.description), "", nil
	case h.fault.code != 0 && !h.fault.absent() && h.memoryOK && h.busOK && h.socOK:
		// "All well" together with an error is how the service answers for a card that it does not know.
		return Verdict{}, fmt.Sprintf("%s has no health of the device: %s", s.name, h.fault.text()), nil
	case !h.memoryOK:
		return bad("its memory is not healthy"), "", nil
	case !h.busOK:
		return bad("its bus is not healthy: the link is slower than it should be"), "", nil
	case !h.socOK:
		return bad("its SoC is not healthy"), "", nil
	}
	return s.heat(ctx, conn, address)
}

// heat judges a card by its sensors, which not every card has. All of them unknown because of an error is no answer: a
// limit that nobody can look at is not kept.
func (s *Source) heat(ctx context.Context, conn *grpc.ClientConn, address string) (v Verdict, why string, err error) {
	var t temperatures
	if err := call(ctx, s.c.Timeout, conn, "/Levelzero/GetDeviceTemperature", deviceID{address: address}, &t); err != nil {
		return Verdict{}, "", err
	}
	s.c.Log.WithField("device", address).Debugf("temperatures: %.0f, GPU %.0f, memory %.0f", t.global, t.gpu, t.memory)
	if t.fault.code == deviceLost {
		return bad("the device is lost (%s)", t.fault.description), "", nil
	}
	seen := false
	for _, sensor := range []struct {
		name  string
		value float64
		limit int
	}{{"", t.global, s.c.Limits.Global}, {"GPU ", t.gpu, s.c.Limits.GPU}, {"memory ", t.memory, s.c.Limits.Memory}} {
		if !t.reads(sensor.value) {
			continue
		}
		if seen = true; sensor.value > float64(sensor.limit) {
			return bad("its %stemperature is above %d °C", sensor.name, sensor.limit), "", nil
		}
	}
	if !seen && t.fault.code != 0 && !t.fault.absent() {
		return Verdict{}, fmt.Sprintf("%s has no temperature of the device: %s", s.name, t.fault.text()), nil
	}
	return good(), "", nil
}

// reads tells a temperature from what stands for none: -999, what is no number, and beside an error also 0, which is what
// a field has that was not sent.
func (t *temperatures) reads(degrees float64) bool {
	const absoluteZero = -273.15
	return degrees >= absoluteZero && !math.IsInf(degrees, 1) && (degrees != 0 || t.fault.code == 0)
}

// text is a fault for a reader; the service does not always describe it.
func (f fault) text() string {
	if f.description == "" {
		return fmt.Sprintf("error 0x%x", f.code)
	}
	return f.description
}

// Indices asks the Level-Zero service once for the numbers of the Intel GPUs, ascending. It is for WSL, where there is
// nothing in sysfs to find them by.
func Indices(ctx context.Context, socket string) ([]uint32, error) {
	conn, err := connect(socket)
	if err != nil {
		return nil, fmt.Errorf("Level-Zero service: %w", err)
	}
	defer conn.Close()
	var i indices
	if err := call(ctx, callTimeout, conn, "/Levelzero/GetIntelIndices", empty{}, &i); err != nil {
		return nil, fmt.Errorf("Level-Zero service: %w", err)
	}
	if i.fault.code != 0 {
		return nil, fmt.Errorf("Level-Zero service: %s", i.fault.text())
	}
	slices.Sort(i.list)
	return slices.Compact(i.list), nil
}
