package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/unixsock"
)

// keepRegistered registers where the kubelet does not know us, or may not: its socket is another one, our socket is, a
// stream has ended, or none has begun. It says when to come again.
func (r *resource) keepRegistered(ctx context.Context) time.Duration {
	path := filepath.Join(r.conf.folder, kubeletSocket)
	kubelet, there := unixsock.Stat(path)
	r.mu.Lock()
	lost, lostOld, calm := r.lost, r.lostOld, r.calm
	r.lost, r.calm = false, false
	r.mu.Unlock()
	if calm {
		r.retry.reset()
	}
	if !there {
		r.drop()
		r.kubelet, r.need, r.needOld = unixsock.Identity{}, true, false
		r.report(fmt.Errorf("%s is not there: the kubelet does not run yet", path))
		return r.conf.poll()
	}
	if kubelet != r.kubelet {
		r.kubelet, r.need, r.needOld, r.notBefore = kubelet, true, false, time.Time{}
		r.retry.reset()
	}
	if r.predecessor != nil && !r.predecessor.alive() {
		r.predecessor, r.need, r.needOld = nil, true, false
		r.notBefore = time.Now().Add(peerGrace)
	}
	if lost {
		r.needOld = lostOld && (r.needOld || !r.need)
		if r.need = true; !r.registeredAt().IsZero() {
			r.notBefore = time.Now().Add(r.retry.next())
		}
		if r.streams.live() == 0 {
			r.drop()
		}
	}
	if !r.need {
		if r.streams.live() > 0 {
			return 0
		}
		if left := streamGrace - time.Since(r.registeredAt()); left > 0 {
			return left
		}
		r.report(errors.New("the kubelet took the registration and never asked for the devices"))
		r.drop()
		r.need, r.needOld = true, false
	}
	if left := time.Until(r.notBefore); left > 0 {
		return left
	}
	r.mu.Lock()
	r.byOld, r.attempt = r.needOld, time.Now()
	r.mu.Unlock()
	err := r.register(ctx, path)
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		r.conf.observer.Registered(r.name, 0, err)
		err = fmt.Errorf("register: %w", err)
		if r.tooLong != nil {
			err = fmt.Errorf("%w (%w)", err, r.tooLong)
		}
		r.report(err)
		wait := r.retry.next()
		r.notBefore = time.Now().Add(wait)
		return wait
	}
	gap := r.gap(kubelet)
	r.mu.Lock()
	r.registered = time.Now()
	r.mu.Unlock()
	r.need, r.unknown = false, time.Time{}
	r.report(nil)
	r.conf.observer.Registered(r.name, gap, nil)
	r.conf.log.WithField("resource", r.name).WithField("gap", gap).Info("registered with the kubelet")
	return streamGrace
}

// gap is how long there has been a kubelet that did not know us: since it dropped us, or since its socket appeared.
func (r *resource) gap(kubelet unixsock.Identity) time.Duration {
	since := r.unknown
	if appeared := time.Unix(0, kubelet.CtimeNsec); since.IsZero() || appeared.After(since) {
		since = appeared
	}
	return max(time.Since(since), 0)
}

// drop notes that the kubelet does not know us any more.
func (r *resource) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.registered.IsZero() {
		r.registered = time.Time{}
		r.unknown = time.Now()
	}
}

func (r *resource) registeredAt() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.registered
}

// register makes one attempt. It gives up when kubelet.sock is replaced meanwhile: the one that it waits for hangs.
func (r *resource) register(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, r.conf.registerTimeout)
	defer cancel()
	r.streams.registering(r.kubelet)
	result := make(chan error, 1)
	go func() { result <- r.call(ctx, path) }()
	for woken := false; ; woken = true {
		select {
		case err := <-result:
			if woken {
				r.look() // whatever else the signal meant is for the loop
			}
			return err
		case <-r.wake:
			if now, _ := unixsock.Stat(path); now != r.kubelet {
				cancel()
			}
		}
	}
}

// call is the Register call. The kubelet dials our socket before it answers.
func (r *resource) call(ctx context.Context, path string) error {
	conn, err := grpc.NewClient("passthrough:///kubelet",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return unixsock.Dial(ctx, path) }))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = v1beta1.NewRegistrationClient(conn).Register(ctx, &v1beta1.RegisterRequest{
		Version:      v1beta1.Version,
		Endpoint:     filepath.Base(r.socket),
		ResourceName: r.name,
		Options:      r.service.options(),
	})
	return err
}
