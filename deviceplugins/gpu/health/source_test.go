package health_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/deviceplugins/gpu/health"
	"github.com/inlay-project/inlay/deviceplugins/gpu/health/healthtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	card0 = "0000:00:02.0"
	card1 = "0000:3d:00.0"
	grace = time.Second
)

// noData is what is said of a card without an answer, and why.
func noData(why string) string {
	return fmt.Sprintf("no health data for longer than %v: %s", grace, why)
}

// rig is a source that runs, and the service that it asks.
type rig struct {
	*health.Source
	t      *testing.T
	server *healthtest.Server
	kicks  atomic.Int32
}

func run(t *testing.T, source func(health.Config) *health.Source, prepare func(*healthtest.Server)) *rig {
	t.Helper()
	r := &rig{t: t, server: healthtest.New(t)}
	log := logrus.New()
	log.SetOutput(io.Discard)
	if prepare != nil {
		prepare(r.server)
	}
	r.Source = source(health.Config{
		Socket: r.server.Socket, Grace: grace, Period: 20 * time.Millisecond, Timeout: 5 * time.Second, Limits: health.Limits{Global: 100, GPU: 90, Memory: 80},
		Kick: func() { r.kicks.Add(1) }, Log: log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// reason is the verdict on a card: "" is healthy.
func (r *rig) reason(address string) string {
	v := r.Verdict(address)
	if v.Healthy != (v.Reason == "") {
		r.t.Fatalf("verdict %+v", v)
	}
	return v.Reason
}

// becomes waits until a card is unhealthy for a reason that has the text, or healthy for "".
func (r *rig) becomes(address, want string) {
	r.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for got := r.reason(address); got != want && (want == "" || !strings.Contains(got, want)); got = r.reason(address) {
		if time.Now().After(deadline) {
			r.t.Fatalf("the verdict on %s stays %q, want %q", address, got, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stays fails if the verdict becomes another within d.
func (r *rig) stays(address, want string, d time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got := r.reason(address); got != want {
			r.t.Fatalf("the verdict on %s became %q, want %q", address, got, want)
		}
	}
}

// asked waits until the service has had so many calls, or a stream.
func (r *rig) asked(calls int) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if n, streams := r.server.Counts(); n >= calls || streams > 0 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatal("the service is never asked")
		}
	}
}

func TestWhatTheLevelZeroServiceSaysOfACard(t *testing.T) {
	unknown := healthtest.Fault{Code: 0x7ffffffe, Description: "unknown (0x7ffffffe)"}
	unavailable := healthtest.Fault{Code: 0x70010001, Description: "not available (0x70010001)"}
	none := func(f healthtest.Fault) healthtest.Card {
		return healthtest.Card{Global: -999, GPU: -999, Memory: -999, HeatFault: f}
	}
	for name, c := range map[string]struct {
		card healthtest.Card
		want string
	}{
		"all well":                      {},
		"at the limits":                 {card: healthtest.Card{Global: 100, GPU: 90, Memory: 80}},
		"memory":                        {card: healthtest.Card{MemoryBad: true}, want: "its memory is not healthy"},
		"bus":                           {card: healthtest.Card{BusBad: true}, want: "its bus is not healthy"},
		"SoC":                           {card: healthtest.Card{SoCBad: true}, want: "its SoC is not healthy"},
		"hot":                           {card: healthtest.Card{Global: 100.1}, want: "its temperature is above 100 °C"},
		"GPU hot":                       {card: healthtest.Card{GPU: 91}, want: "its GPU temperature is above 90 °C"},
		"memory hot":                    {card: healthtest.Card{Memory: 81}, want: "its memory temperature is above 80 °C"},
		"no sensor":                     {card: healthtest.Card{Global: -999, GPU: -999, Memory: -999, HeatFault: healthtest.Fault{Code: 0x78000003}}},
		"no sensor available":           {card: none(unavailable)},
		"one sensor, none other there":  {card: healthtest.Card{Global: -999, GPU: 91, Memory: -999, HeatFault: unavailable}, want: "GPU temperature"},
		"no state of its bus":           {card: healthtest.Card{HealthFault: unavailable}},
		"nor a sensor":                  {card: healthtest.Card{Global: -999, GPU: -999, Memory: -999, HealthFault: unavailable, HeatFault: unavailable}},
		"no bus, its sensors unread":    {card: healthtest.Card{Global: -999, GPU: -999, Memory: -999, HealthFault: unavailable, HeatFault: unknown}, want: "has no temperature of the device: unknown"},
		"sick, and no state of its bus": {card: healthtest.Card{MemoryBad: true, HealthFault: unavailable}, want: "memory"},
		"no sensor, and not said why":   {card: none(healthtest.Fault{})},
		"no numbers":                    {card: healthtest.Card{Global: math.NaN(), GPU: math.NaN(), Memory: math.NaN(), HeatFault: healthtest.Fault{Code: 0x78000003}}},
		"no numbers, but an error":      {card: healthtest.Card{Global: math.NaN(), GPU: math.Inf(1), Memory: math.Inf(-1), HeatFault: unknown}, want: noData("the Level-Zero service has no temperature of the device: unknown")},
		"sensors that cannot be read":   {card: none(unknown), want: "has no temperature of the device: unknown (0x7ffffffe)"},
		"nothing but an error":          {card: healthtest.Card{HeatFault: healthtest.Fault{Code: 0x1234}}, want: "has no temperature of the device: error 0x1234"},
		"one sensor of three, an error": {card: healthtest.Card{Global: -999, GPU: 90, Memory: -999, HeatFault: unknown}},
		"one that is hot, an error":     {card: healthtest.Card{Global: 101, GPU: -999, Memory: -999, HeatFault: unknown}, want: "its temperature is above 100 °C"},
		"lost by its sensors":           {card: none(healthtest.Fault{Code: 0x70000001, Description: "device lost (0x70000001)"}), want: "the device is lost (device lost (0x70000001))"},
		"one sensor, and that is hot":   {card: healthtest.Card{Global: -999, GPU: 95, HeatFault: healthtest.Fault{Code: 0x78000003}}, want: "GPU temperature"},
		"success as error":              {card: healthtest.Card{HealthFault: healthtest.Fault{Description: "success (0x0)"}}},
		"a check that it does not have": {card: healthtest.Card{HealthFault: healthtest.Fault{Code: 0x78000003, Description: "unsupported feature"}}},
		"lost":                          {card: healthtest.Card{HealthFault: healthtest.Fault{Code: 0x70000001, Description: "device lost (0x70000001)"}}, want: "the device is lost (device lost (0x70000001))"},
		"sick and an error":             {card: healthtest.Card{MemoryBad: true, HealthFault: healthtest.Fault{Code: 0x7ffffffe}}, want: "memory"},
		"an error and no more":          {card: healthtest.Card{HealthFault: healthtest.Fault{Code: 0x1234}}, want: "error 0x1234"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := c.card
			if c.want == "" {
				first = healthtest.Card{MemoryBad: true} // without an answer it would be healthy too
			}
			r := run(t, health.LevelZero, func(s *healthtest.Server) {
				s.Set(card0, first)
				s.Start()
			})
			r.Follow([]string{card0})
			if c.want == "" {
				r.becomes(card0, "its memory is not healthy")
				r.server.Set(card0, c.card)
			}
			r.becomes(card0, c.want)
		})
	}
}

func TestWhatXPUMDSaysOfACard(t *testing.T) {
	status := func(severity uint32) healthtest.Status {
		return healthtest.Status{Name: "core", Severity: severity, Reason: "why"}
	}
	for name, c := range map[string]struct {
		health []healthtest.Status
		want   string
	}{
		"ok":              {[]healthtest.Status{status(1)}, ""},
		"ok and unknown":  {[]healthtest.Status{status(0), status(1)}, ""},
		"warning":         {[]healthtest.Status{status(1), status(2)}, "xpumd says warning: core: why"},
		"critical":        {[]healthtest.Status{status(2), {Name: "memory", Severity: 3, Message: "too hot"}}, "xpumd says critical: memory: too hot"},
		"failed":          {[]healthtest.Status{status(4)}, "xpumd says failed: core: why"},
		"a worse one yet": {[]healthtest.Status{status(7)}, "xpumd says failed"},
		"unknown":         {[]healthtest.Status{status(0)}, noData("xpumd does not know the device's health")},
		"nothing":         {nil, "xpumd does not know the device's health"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tell := func(s *healthtest.Server, statuses []healthtest.Status) {
				s.Tell(healthtest.Device{Address: strings.ToUpper(card1), Health: statuses}, healthtest.Device{Address: "0000:ff:00.0"})
			}
			first := c.health
			if c.want == "" {
				first = []healthtest.Status{status(4)} // without an answer it would be healthy too
			}
			r := run(t, health.XPUMD, func(s *healthtest.Server) {
				tell(s, first)
				s.Start()
			})
			r.Follow([]string{card1})
			if c.want == "" {
				r.becomes(card1, "xpumd says failed")
				tell(r.server, c.health)
			}
			r.becomes(card1, c.want)
		})
	}
}

func TestTheSeverityFromWhichACardIsUnhealthy(t *testing.T) {
	for from, worst := range map[health.Severity]uint32{0: 1, health.Warning: 1, health.Critical: 2, health.Failed: 3} {
		for severity := uint32(1); severity <= 5; severity++ {
			server := healthtest.New(t)
			server.Tell(healthtest.Device{Address: card0, Health: []healthtest.Status{{Name: "memory", Severity: severity}}})
			server.Start()
			s := health.XPUMD(health.Config{Socket: server.Socket, Grace: time.Hour, Severity: from, Kick: func() {}, Log: logrus.New()})
			if err := s.Ask(t.Context(), []string{card0}); err != nil {
				t.Fatal(err)
			}
			if v := s.Verdict(card0); v.Healthy != (severity <= worst) {
				t.Errorf("from %d, severity %d: %+v", from, severity, v)
			}
		}
	}
}

// sick makes card0 sick or well at both services.
func sick(s *healthtest.Server, is bool) {
	severity := uint32(1)
	if is {
		severity = 4
	}
	s.Set(card0, healthtest.Card{MemoryBad: is})
	s.Tell(healthtest.Device{Address: card0, Health: []healthtest.Status{{Name: "memory", Severity: severity}}})
}

func forEachSource(t *testing.T, test func(t *testing.T, source func(health.Config) *health.Source)) {
	t.Run("levelzero", func(t *testing.T) { t.Parallel(); test(t, health.LevelZero) })
	t.Run("xpumd", func(t *testing.T) { t.Parallel(); test(t, health.XPUMD) })
}

// G7: the old client gave up after 5 attempts and believed the last answer for ever.
func TestASourceThatDiesIsAskedForEver_G7(t *testing.T) {
	forEachSource(t, func(t *testing.T, source func(health.Config) *health.Source) {
		r := run(t, source, func(s *healthtest.Server) { sick(s, true); s.Start() })
		r.Follow([]string{card0})
		r.becomes(card0, "emory") // an answer, and the next one is one too
		sick(r.server, false)
		for range 3 {
			r.becomes(card0, "")
			r.server.Stop()
			r.stays(card0, "", grace/2) // a service that restarts costs nothing
			r.becomes(card0, noData(""))
			r.server.Start()
		}
		r.becomes(card0, "")
		sick(r.server, true)
		r.becomes(card0, "emory")
	})
}

// What was said last holds on for the grace, sick as well.
func TestASickCardStaysSickWhileTheSourceIsAway(t *testing.T) {
	forEachSource(t, func(t *testing.T, source func(health.Config) *health.Source) {
		r := run(t, source, func(s *healthtest.Server) { sick(s, true); s.Start() })
		r.Follow([]string{card0})
		r.becomes(card0, "emory")
		was := r.reason(card0)
		r.server.Stop()
		r.stays(card0, was, grace/2)
		r.becomes(card0, "no health data")
		sick(r.server, false)
		r.server.Start()
		r.becomes(card0, "")
	})
}

// G8: without an answer every card was healthy, for ever.
func TestACardWithoutAnyAnswerIsNotHealthyForEver_G8(t *testing.T) {
	forEachSource(t, func(t *testing.T, source func(health.Config) *health.Source) {
		rigs := map[string]*rig{}
		for name, prepare := range map[string]func(*healthtest.Server){
			"no service":        func(*healthtest.Server) {},
			"errors":            func(s *healthtest.Server) { s.Refuse(true); s.Start() },
			"hung":              func(s *healthtest.Server) { s.Hang(true); s.Start() },
			"card not known":    func(s *healthtest.Server) { s.Start() },
			"no socket, a file": func(s *healthtest.Server) { _ = os.WriteFile(s.Socket, nil, 0o600) },
		} {
			r := run(t, impatient(source), prepare)
			r.Follow([]string{card0})
			if got := r.reason(card0); got != "" {
				t.Errorf("%s: without grace: %s", name, got)
			}
			rigs[name] = r
		}
		for name, r := range rigs {
			t.Run(name, func(t *testing.T) {
				r.t = t
				r.becomes(card0, noData(""))
			})
		}
	})
}

// renewing has streams that are renewed often.
func renewing(source func(health.Config) *health.Source) func(health.Config) *health.Source {
	return func(c health.Config) *health.Source {
		c.Renew = grace / 3
		return source(c)
	}
}

// impatient is for a service that hangs.
func impatient(source func(health.Config) *health.Source) func(health.Config) *health.Source {
	return func(c health.Config) *health.Source {
		c.Timeout = 200 * time.Millisecond
		return source(c)
	}
}

// A service that lives and hangs after an answer is not believed for ever.
func TestAHungServiceIsNoticedAndComesBack(t *testing.T) {
	forEachSource(t, func(t *testing.T, source func(health.Config) *health.Source) {
		r := run(t, impatient(renewing(source)), func(s *healthtest.Server) { sick(s, false); s.Start() })
		r.Follow([]string{card0})
		r.asked(3)
		r.becomes(card0, "")
		r.server.Hang(true)
		r.becomes(card0, noData(""))
		says := func(why string) bool { return strings.Contains(r.reason(card0), why) }
		for end := time.Now().Add(10 * time.Second); !says("deadline") && !says("xpumd: no answer within 200ms"); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) { // the service's own end of a call may come first, now and then
				t.Fatalf("it does not say why: %s", r.reason(card0))
			}
		}
		r.server.Hang(false)
		r.becomes(card0, "")
	})
}

// What a stream has said holds while the next one is asked for.
func TestARenewedStreamChangesNothing(t *testing.T) {
	for name, is := range map[string]bool{"well": false, "sick": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, renewing(health.XPUMD), func(s *healthtest.Server) { sick(s, is); s.Start() })
			r.Follow([]string{card0})
			want := ""
			if is {
				want = "xpumd says failed: memory"
			}
			r.becomes(card0, want)
			for _, streams := r.server.Counts(); streams < 5; _, streams = r.server.Counts() {
				r.stays(card0, want, 5*time.Millisecond)
			}
			if got, most := r.kicks.Load(), int32(1); got > most {
				t.Errorf("%d kicks", got)
			}
		})
	}
}

// Every change wakes the engine, also those that time alone brings; nothing else does.
func TestOnlyAChangedVerdictKicks(t *testing.T) {
	forEachSource(t, func(t *testing.T, source func(health.Config) *health.Source) {
		patient := func(c health.Config) *health.Source {
			c.Grace = 3 * time.Second // a card that is answered for late would have a verdict more
			return source(c)
		}
		r := run(t, patient, func(s *healthtest.Server) { sick(s, false); s.Start() })
		r.Follow([]string{card0, card1})
		r.asked(3)
		r.becomes(card1, "no health data") // nobody knows it: time alone
		wait := func(want int32) {
			t.Helper()
			for end := time.Now().Add(5 * time.Second); r.kicks.Load() < want && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
			}
			time.Sleep(100 * time.Millisecond) // several polls
			if got := r.kicks.Load(); got != want {
				t.Fatalf("%d kicks, want %d", got, want)
			}
		}
		wait(1)
		sick(r.server, true)
		wait(2)
		sick(r.server, false)
		wait(3)
	})
}

func TestACardThatComesIsAskedForAtOnce(t *testing.T) {
	forEachSource(t, func(t *testing.T, source func(health.Config) *health.Source) {
		slow := func(c health.Config) *health.Source {
			c.Period = time.Hour
			return source(c)
		}
		r := run(t, slow, func(s *healthtest.Server) { sick(s, true); s.Start() })
		r.Follow([]string{card1})
		r.asked(1)
		r.Follow([]string{card1, card0})
		r.becomes(card0, "emory")
		r.Follow([]string{card1})
		if got := r.reason(card0); got != "" {
			t.Errorf("a card that is gone is still %q", got)
		}
	})
}

// What a stream said before it broke is not repeated for a card that comes.
func TestAStreamThatBrokeSaysNothingMore(t *testing.T) {
	r := run(t, health.XPUMD, func(s *healthtest.Server) { sick(s, false); s.Start() })
	r.Follow([]string{card0})
	r.asked(1)
	r.server.Stop()
	r.becomes(card0, "no health data")
	r.Follow([]string{card0, card1})
	r.stays(card0, r.reason(card0), grace/2)
	if r.reason(card0) == "" {
		t.Error("a card is healthy by what a dead stream once said")
	}
}

func TestIndices(t *testing.T) {
	s := healthtest.New(t)
	s.SetIndices(healthtest.Fault{}, 2, 0, 2)
	if _, err := health.Indices(t.Context(), s.Socket); err == nil {
		t.Error("no service, no error")
	}
	s.Start()
	if got, err := health.Indices(t.Context(), s.Socket); err != nil || len(got) != 2 || got[0] != 0 || got[1] != 2 {
		t.Errorf("%v, %v", got, err)
	}
	s.SetIndices(healthtest.Fault{Code: 1, Description: "not ready (0x1)"})
	if _, err := health.Indices(t.Context(), s.Socket); err == nil || !strings.Contains(err.Error(), "not ready (0x1)") {
		t.Errorf("error %v", err)
	}
}

// Somebody who looks once gets what the source says, and waits for none that does not answer longer than for one call.
func TestASourceThatIsAskedOnce(t *testing.T) {
	forEachSource(t, func(t *testing.T, source func(health.Config) *health.Source) {
		for name, c := range map[string]struct {
			prepare func(*healthtest.Server)
			want    string
		}{
			"sick":       {func(s *healthtest.Server) { sick(s, true); s.Start() }, "emory"},
			"well":       {func(s *healthtest.Server) { sick(s, false); s.Start() }, ""},
			"not known":  {func(s *healthtest.Server) { s.Start() }, ""},
			"no service": {func(*healthtest.Server) {}, ""},
			"a hung one": {func(s *healthtest.Server) { s.Hang(true); s.Start() }, ""},
		} {
			server := healthtest.New(t)
			c.prepare(server)
			log := logrus.New()
			log.SetOutput(io.Discard)
			of := source
			if name == "a hung one" {
				of = impatient(source)
			}
			s := of(health.Config{Socket: server.Socket, Grace: time.Hour, Period: time.Hour, Kick: func() {}, Log: log})
			for range 2 {
				if err := s.Ask(t.Context(), []string{card0}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				v := s.Verdict(card0)
				if v.Healthy != (c.want == "") || !strings.Contains(v.Reason, c.want) {
					t.Errorf("%s: %+v, want %q", name, v, c.want)
				}
			}
			if err := s.Ask(t.Context(), nil); err != nil {
				t.Fatalf("%s: for no card: %v", name, err)
			}
		}
	})
}
