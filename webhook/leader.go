package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// Times of the Lease: how long a leader that has died is waited for, until when one that cannot write gives up, and how
// often it is looked at.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leader takes turns with other replicas.
type leader struct {
	lock *lease
	log  *logrus.Logger
}

// lease is the Lock of the elector. RecordEvent is the one thing that the elector calls, and not only starts, before it
// lets the work begin.
type lease struct {
	resourcelock.LeaseLock
	won bool
}

// RecordEvent implements resourcelock.Interface.
func (l *lease) RecordEvent(event string) { l.won = l.won || event == "became leader" }

// newLeader is for the Lease of that name.
func newLeader(c *rest.Config, namespace, name string, log *logrus.Logger) (*leader, error) {
	config := rest.CopyConfig(c)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON // one small object
	client, err := coordination.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for Leases: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = name
	}
	var id [4]byte // two processes may have one host name
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	return &leader{log: log, lock: &lease{LeaseLock: resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + hex.EncodeToString(id[:])},
	}}}, nil
}

// run calls work whenever this replica leads, with a context that ends when it no longer does, until ctx ends; it returns
// when work has. The Lease is given back as soon as ctx ends, not when work has ended: for a moment the next leader works
// beside this one. Work must be such that this does no harm; an update of an object that the other has changed is refused.
func (l *leader) run(ctx context.Context, work func(ctx context.Context)) error {
	ctx = klog.NewContext(ctx, klog.New(&electorLog{log: l.log}))
	log := l.log.WithField("identity", l.lock.Identity())
	for ctx.Err() == nil {
		worked := make(chan struct{})
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: l.lock, Name: l.lock.LeaseMeta.Name, ReleaseOnCancel: true,
			LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					defer close(worked)
					log.Info("this replica writes the mappings' status")
					work(ctx)
				},
				OnStoppedLeading: func() {},
			},
		})
		if err != nil {
			return fmt.Errorf("leader election: %w", err)
		}
		l.lock.won = false
		elector.Run(ctx)
		if l.lock.won {
			<-worked
			log.Info("this replica no longer writes the mappings' status")
		}
	}
	return nil
}

// electorLog takes the elector's own lines. Most are no news; that the Lease cannot be had is, once.
type electorLog struct {
	log  *logrus.Logger
	said string
}

// Init implements klog.LogSink.
func (*electorLog) Init(klog.RuntimeInfo) {}

// Enabled implements klog.LogSink.
func (*electorLog) Enabled(level int) bool { return level <= 1 }

// Info implements klog.LogSink.
func (e *electorLog) Info(_ int, message string, _ ...any) { e.log.Debug(message) }

// Error implements klog.LogSink. The elector calls it from one goroutine.
func (e *electorLog) Error(err error, message string, _ ...any) {
	if err == nil || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || e.said == err.Error() {
		e.log.WithError(err).Debug(message) // another replica was faster, or this is known
		return
	}
	e.said = err.Error()
	e.log.WithError(err).Warn("the Lease cannot be had; it is tried again")
}

// WithValues implements klog.LogSink.
func (e *electorLog) WithValues(...any) klog.LogSink { return e }

// WithName implements klog.LogSink.
func (e *electorLog) WithName(string) klog.LogSink { return e }
