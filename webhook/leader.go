package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"

	"github.com/sirupsen/logrus"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/webhook/lease"
)

// newLeader takes turns with the other replicas that know the Lease of that name.
func newLeader(c *rest.Config, namespace, name string, log *logrus.Logger) (*lease.Holder, error) {
	client, err := lease.Client(c)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = name
	}
	var id [4]byte // two processes may have one host name
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	identity := host + "_" + hex.EncodeToString(id[:])
	return lease.New(lease.Config{
		Client: client, Namespace: namespace, Name: name, Identity: identity, Log: log.WithField("identity", identity),
	}), nil
}

// whileLeading says in the log when work begins and ends.
func whileLeading(log *logrus.Logger, work func(ctx context.Context)) func(ctx context.Context) {
	return func(ctx context.Context) {
		log.Info("this replica writes the mappings' status")
		work(ctx)
		log.Info("this replica no longer writes the mappings' status")
	}
}
