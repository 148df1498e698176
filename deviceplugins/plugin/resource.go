package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/unixsock"
)

// resource serves one resource name to the kubelet: it keeps the socket in place and the registration fresh, by itself,
// whatever the other resources do. One goroutine runs its loop and owns the fields below "loop".
type resource struct {
	name   string
	owner  *scanner
	feed   *feed
	conf   *settings
	socket string        // full path as this process sees it
	wake   chan struct{} // one place: something may have changed
	after  <-chan struct{}
	done   chan struct{}
	// tooLong says that the kubelet cannot dial the socket's path.
	tooLong error

	streams *streams
	service *service
	tasks   sync.WaitGroup

	mu         sync.Mutex
	lost       bool      // the kubelet has or may have dropped the registration
	lostOld    bool      // it was by the end of a stream of an earlier registration
	byOld      bool      // such an end is the only reason of the last registration
	attempt    time.Time // of the last registration
	calm       bool      // the stream that ended had lived long enough to begin again without delay
	lastErr    error     // of the loop, nil when all is well
	registered time.Time // of the last success, zero while not registered
	standby    bool

	// loop
	server      *grpc.Server
	listener    *unixsock.Listener
	successor   *hold // a process that took the socket over from us
	predecessor *hold // the process that we took it over from
	kubelet     unixsock.Identity
	need        bool      // a registration is due
	needOld     bool      // only because a stream of an earlier one has ended
	notBefore   time.Time // but not earlier
	unknown     time.Time // since when the kubelet does not know us
	empty       time.Time // since when there is no device
	retry       backoff
}

const (
	// streamGrace is how long the kubelet may take from the registration to its ListAndWatch.
	streamGrace = 3 * time.Second
	// peerGrace lets the kubelet finish with the streams of a process that has gone, whose end it would take for ours.
	peerGrace = 200 * time.Millisecond
)

func newResource(name string, owner *scanner, first *snapshot, conf *settings) *resource {
	file, err := socketName(conf.hostFolder, name)
	r := &resource{
		name: name, owner: owner, feed: newFeed(first), conf: conf,
		socket: filepath.Join(conf.folder, file), wake: make(chan struct{}, 1), done: make(chan struct{}),
		need: true, unknown: time.Now(), tooLong: err,
	}
	r.streams = &streams{ended: r.streamEnded}
	r.service = &service{
		resource: name, family: owner.family, feed: r.feed, streams: r.streams,
		log: conf.log, observer: conf.observer,
	}
	return r
}

// look makes the loop look at everything again.
func (r *resource) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// publish makes a snapshot the newest one.
func (r *resource) publish(s *snapshot) {
	was := len(r.feed.load().devices)
	r.feed.store(s)
	if (was == 0) != (len(s.devices) == 0) {
		r.look() // the time of an empty resource begins or ends
	}
}

// streamEnded notes the end of a stream. After the end of an old one we register once more, because some kubelets take
// it for the end of the newest. Others end the old stream themselves at each registration: with those that would go on
// for ever, so the end that follows such a registration counts for nothing.
func (r *resource) streamEnded(lived time.Duration, old bool) {
	r.mu.Lock()
	if old && r.byOld && time.Since(r.attempt) < steady {
		r.mu.Unlock()
		return
	}
	r.lost, r.lostOld, r.calm = true, old, r.calm || lived >= steady
	r.mu.Unlock()
	r.look()
}

// run serves until ctx ends or the resource has been without devices for too long; retire decides the latter.
func (r *resource) run(ctx context.Context, retire func() bool) {
	defer close(r.done)
	if r.after != nil { // an earlier life of this name is on its way out
		select {
		case <-r.after:
		case <-ctx.Done():
			return
		}
	}
	r.server = grpc.NewServer(grpc.WaitForHandlers(true), grpc.ReadBufferSize(4<<10), grpc.WriteBufferSize(4<<10))
	v1beta1.RegisterDevicePluginServer(r.server, r.service)
	defer r.close()
	for {
		linger, over := r.linger()
		if over && retire() {
			return
		}
		wait := soonest(linger, r.serve(ctx))
		var timer *time.Timer
		var due <-chan time.Time
		if wait > 0 {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// soonest of two waits, of which zero is none.
func soonest(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// linger gives the time that is left to a resource without devices; over when there is none left.
func (r *resource) linger() (left time.Duration, over bool) {
	if len(r.feed.load().devices) > 0 {
		r.empty = time.Time{}
		return 0, false
	}
	if r.empty.IsZero() {
		r.empty = time.Now()
	}
	left = r.conf.linger - time.Since(r.empty)
	return max(left, time.Millisecond), left <= 0
}

// serve does what is due now and says when to come again, zero for "when woken".
func (r *resource) serve(ctx context.Context) time.Duration {
	if err := r.keepSocket(ctx); err != nil {
		r.report(err)
		if errors.Is(err, fs.ErrNotExist) {
			return r.conf.poll() // the folder is not there yet
		}
		return r.retry.next()
	}
	if r.successor != nil {
		return 0
	}
	return r.keepRegistered(ctx)
}

// keepSocket puts our socket in place where it is not, unless another process serves the resource since.
func (r *resource) keepSocket(ctx context.Context) error {
	log := r.conf.log.WithFields(logrus.Fields{"resource": r.name, "socket": r.socket})
	if r.listener != nil {
		ours, there := r.listener.InPlace()
		if ours {
			return nil
		}
		if r.successor != nil {
			if r.successor.alive() {
				return nil
			}
			log.Info("the process that had taken the socket over has gone")
			r.successor = nil
			r.notBefore = time.Now().Add(peerGrace)
		} else if there {
			if peer, err := holdPeer(ctx, r.socket); err == nil {
				log.WithField("process", peer.process).Warn("another process has taken the socket over and serves the resource now: standing by until it goes")
				r.successor = peer
				r.guard(peer)
				r.setStandby(true)
				return nil
			}
		}
		log.Info("socket has been removed, it is put back")
	} else if _, there := unixsock.Stat(r.socket); there {
		if peer, err := holdPeer(ctx, r.socket); err == nil {
			log.WithField("process", peer.process).Warn("another live process serves the socket: taking it over, the newest registration wins")
			r.predecessor = peer
			r.guard(peer)
		}
	}
	next, err := unixsock.Listen(r.socket)
	if err != nil {
		return err
	}
	if r.listener != nil {
		r.listener.Close() // of connections made through it nothing changes
	}
	r.listener, r.need, r.needOld = next, true, false
	r.setStandby(false)
	r.tasks.Go(func() {
		// It ends when next is closed: by the one that replaces it, or with the server.
		if err := r.server.Serve(next); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			log.WithError(err).Error("socket takes no connections any more")
		}
	})
	return nil
}

// guard waits for a peer to go, on a goroutine that close ends.
func (r *resource) guard(peer *hold) {
	r.tasks.Go(func() {
		peer.wait()
		r.look()
	})
}

func (r *resource) setStandby(standby bool) {
	r.feed.freeze(standby) // the old streams stay open and silent: the kubelet would take their end for the other's
	r.mu.Lock()
	defer r.mu.Unlock()
	r.standby = standby
}

// report keeps the loop's error for Status and logs it when it is another one.
func (r *resource) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	same := err == nil && r.lastErr == nil || err != nil && r.lastErr != nil && err.Error() == r.lastErr.Error()
	r.lastErr = err
	if err != nil && !same {
		r.conf.log.WithField("resource", r.name).WithError(err).Warn("the kubelet does not have the resource yet, trying again")
	}
}

// close ends everything of the resource. The socket goes first: who dials now shall find nothing.
func (r *resource) close() {
	if r.listener != nil {
		r.listener.Remove()
	}
	for _, peer := range []*hold{r.successor, r.predecessor} {
		if peer != nil {
			peer.conn.Close()
		}
	}
	r.server.Stop()
	r.tasks.Wait()
}

// ResourceStatus is the state of one resource.
type ResourceStatus struct {
	Resource   string
	Family     string
	Socket     string
	Registered bool // the kubelet knows the resource and listens to it
	Standby    bool // another process serves it
	Healthy    int
	Unhealthy  int
	Reasons    []string // of the unhealthy devices
	Err        error    // what keeps it from being registered or complete
}

// missing says in words what is not as it should be, empty if nothing.
func (s ResourceStatus) missing() string {
	switch {
	case s.Registered:
		return ""
	case s.Standby:
		return fmt.Sprintf("resource %s: another process serves it, standing by", s.Resource)
	case s.Err != nil:
		return fmt.Sprintf("resource %s is not registered with the kubelet: %v", s.Resource, s.Err)
	}
	return fmt.Sprintf("resource %s is not registered with the kubelet yet", s.Resource)
}

func (r *resource) status() ResourceStatus {
	snap := r.feed.load()
	s := ResourceStatus{Resource: r.name, Family: r.owner.family.Name(), Socket: r.socket}
	s.Healthy, s.Unhealthy = snap.count()
	for _, d := range snap.devices {
		if d.Health != Healthy {
			s.Reasons = append(s.Reasons, d.ID+": "+orUnknown(d.Reason))
		}
	}
	live := r.streams.live() > 0
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Standby = r.standby
	s.Registered = !r.registered.IsZero() && live && !r.standby
	s.Err = errors.Join(r.lastErr, snap.err)
	return s
}
