package health

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/inlay-project/inlay/internal/unixsock"
)

// Source tells of the health of cards. Make one with LevelZero or XPUMD, and Run it; without, no card ever has an answer.
// It is safe for concurrent use.
type Source struct {
	c       Config
	name    string
	tracker *tracker
	ask     func(ctx context.Context, conn *grpc.ClientConn) // until ctx ends
	more    chan struct{}                                    // one place: there is a new card to ask for

	mu   sync.Mutex
	last *devices // what the stream that lives said last, nil without one
}

func newSource(name string, c Config) *Source {
	c.Timeout, c.Renew, c.Severity = cmp.Or(c.Timeout, callTimeout), cmp.Or(c.Renew, renewal), cmp.Or(c.Severity, Warning)
	return &Source{c: c, name: name, tracker: newTracker(c.Grace, c.Kick), more: make(chan struct{}, 1)}
}

// Config is what a source is made of.
type Config struct {
	Socket string        // unix socket of the service, as this process sees it
	Grace  time.Duration // how long a card is believed without an answer that holds
	Period time.Duration // how often the Level-Zero service is asked
	// Timeout is for one call, which reads registers, and for the first message of a stream; zero is 5 s.
	Timeout time.Duration
	// Renew is how long what a stream has said is believed until another one has to say it again; zero is 3 min.
	Renew  time.Duration
	Limits Limits // of the Level-Zero service's temperatures
	// Severity is that of xpumd's from which on a card is unhealthy; zero is Warning.
	Severity Severity
	Kick     func() // called when a verdict has become another; quick
	Log      logrus.FieldLogger
}

// Limits are the temperatures in degrees Celsius above which a card is unhealthy.
type Limits struct{ Global, GPU, Memory int }

const (
	// callTimeout is for one unary call.
	callTimeout = 5 * time.Second
	// renewal is the age of a stream. A service that hangs says nothing on it, as one that has nothing to tell.
	renewal = 3 * time.Minute
	// askedYet is how often Ask looks whether it has its answers.
	askedYet = 5 * time.Millisecond
	// The time between two attempts to get a stream, growing.
	leastWait = 100 * time.Millisecond
	mostWait  = 10 * time.Second
	// silence is how long a connection with a stream may be without a byte until the other side is asked for a sign of
	// life. gRPC servers hang up on clients that ask more often than every 5 minutes.
	silence = 6 * time.Minute
)

// Follow makes these PCI addresses the cards that matter.
func (s *Source) Follow(addresses []string) {
	if !s.tracker.follow(addresses) {
		return
	}
	s.takeLast()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// Verdict on the card at a PCI address.
func (s *Source) Verdict(address string) Verdict { return s.tracker.verdict(address) }

// Ask asks for these cards once, for somebody who looks and does not follow: until the source has said of each whether it
// knows it, or has had the time of one call. It is not for a source that runs.
func (s *Source) Ask(ctx context.Context, addresses []string) error {
	s.Follow(addresses)
	ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	look := time.NewTicker(askedYet)
	defer look.Stop()
	for !s.tracker.asked() {
		select {
		case <-look.C:
		case err := <-done:
			return err
		}
	}
	cancel()
	return <-done
}

// Run asks until ctx ends, and waits for what it has begun. An error says that the socket's name is none.
func (s *Source) Run(ctx context.Context) error {
	conn, err := connect(s.c.Socket)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer conn.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		s.tracker.run(ctx)
		return nil
	})
	group.Go(func() error {
		s.ask(ctx, conn)
		return nil
	})
	return group.Wait()
}

// connect makes a connection that comes up when it is needed and comes back by itself.
func connect(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: leastWait, Multiplier: 1.6, Jitter: 0.2, MaxDelay: mostWait}, MinConnectTimeout: callTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: silence, Timeout: callTimeout}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{})),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return unixsock.Dial(ctx, socket) }))
}

// call makes one unary call with its own deadline.
func call(ctx context.Context, timeout time.Duration, conn *grpc.ClientConn, method string, request, answer message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return conn.Invoke(ctx, method, request, answer)
}

// trouble is an error in the words of the other side, without gRPC's frame.
func (s *Source) trouble(err error) string {
	if st, ok := status.FromError(err); ok {
		return s.name + ": " + st.Message()
	}
	return s.name + ": " + err.Error()
}

// wait pauses, longer at each attempt, and tells whether to go on.
func wait(ctx context.Context, attempt int) bool {
	d := min(leastWait<<min(attempt, 10), mostWait)
	d -= time.Duration(rand.Int64N(int64(d) / 4))
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
