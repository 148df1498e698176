package main

import (
	"context"
	"errors"
	"os"
	"path"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/node"
	"github.com/inlay-project/inlay/internal/podresources"
)

// firstLook bounds the wait for the API server at start: a node begins in the mode of its annotation if that can be
// known at once, else in the flag's.
const firstLook = 3 * time.Second

// followNode applies the node annotation now and at every change, and keeps the node's label true.
func (o *options) followNode(ctx context.Context, group *errgroup.Group, cards *fpga.Family, kick func(...string)) error {
	flag := cards.Mode()
	apply := func(annotation string) string {
		mode, err := fpga.ParseMode(annotation)
		if annotation == "" {
			mode, err = flag, nil
		}
		if err != nil {
			o.Log.WithError(err).Warnf("node annotation %s is passed over", node.ModeAnnotation)
			mode = cards.Mode()
		}
		if cards.SetMode(mode) {
			o.Log.WithField("mode", mode).Info("FPGA mode changed")
			o.publishMode(mode)
			kick(cards.Name())
		}
		return string(mode)
	}
	defer func() { o.publishMode(cards.Mode()) }()
	if o.nodeName == "" {
		o.Log.Info("no --node-name: the mode annotation and the mode label are off")
		return nil
	}
	client, err := node.Client(o.kubeconfig)
	if errors.Is(err, rest.ErrNotInCluster) {
		o.Log.Info("not in a cluster and no --kubeconfig: the mode annotation and the mode label are off")
		return nil
	}
	if err != nil {
		return err
	}
	own := node.Own{Name: o.nodeName, Client: client, Log: o.Log, Changed: apply}
	first, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	if annotation, err := own.Annotation(first); err != nil {
		o.Log.WithError(err).Warnf("the mode is %s until the node's annotation can be read", flag)
	} else {
		apply(annotation)
	}
	group.Go(func() error { return own.Run(ctx) })
	return nil
}

// kubelet asks the kubelet who holds what.
type kubelet struct{ socket string }

func (k kubelet) List(ctx context.Context) (*podresources.Listing, error) {
	return podresources.Client{Socket: k.socket}.List(ctx)
}

func (k kubelet) Absent() bool {
	_, err := os.Stat(k.socket)
	return errors.Is(err, os.ErrNotExist)
}

// hostHookPath takes a path below the host root, as every path flag, or the host's own path of a hook that is there.
func (o *options) hostHookPath() (string, error) {
	if o.hookHostRoot != "" {
		if _, err := os.Stat(o.hookPath); err == nil && path.IsAbs(o.hookPath) {
			return o.hookPath, nil
		}
	}
	hostPath, err := o.HostPath("hook-path", o.hookPath)
	if err != nil && path.IsAbs(o.hookPath) && o.Root.Exists(o.hookPath) {
		return o.hookPath, nil
	}
	return hostPath, err
}
