package main

import (
	"context"
	"errors"
	"os"
	"path"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/node"
	"github.com/inlay-project/inlay/internal/podresources"
)

// firstLook bounds the wait for the API server at start: a node begins in the mode of its annotation if that can be
// known at once, else in the flag's.
const firstLook = 3 * time.Second

// ownNode connects to this process's own Node; nil where there is none to follow.
func (o *options) ownNode() (*node.Own, error) {
	if o.nodeName == "" {
		o.Log.Info("no --node-name: the mode annotation and the mode label are off")
		return nil, nil
	}
	client, err := node.Client(o.kubeconfig)
	if errors.Is(err, rest.ErrNotInCluster) {
		o.Log.Info("not in a cluster and no --kubeconfig: the mode annotation and the mode label are off")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &node.Own{Name: o.nodeName, Client: client, Log: o.Log}, nil
}

// override applies the node's annotation to the mode that the settings say. An annotation that names no mode changes
// nothing.
type override struct {
	*options
	cards *fpga.Family

	mu         sync.Mutex
	flag       fpga.Mode
	annotation string
}

// set tells another mode of the settings, and whether that changes the mode.
func (v *override) set(flag fpga.Mode) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flag = flag
	return v.apply()
}

// annotated tells the annotation, and whether that changes the mode.
func (v *override) annotated(annotation string) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.annotation = annotation
	return v.apply()
}

// apply tells whether the mode is another one now. Called with mu held.
func (v *override) apply() (changed bool) {
	mode := v.flag
	if v.annotation != "" {
		var err error
		if mode, err = fpga.ParseMode(v.annotation); err != nil {
			v.Log.WithError(err).Warnf("node annotation %s is passed over, the mode stays %s", node.ModeAnnotation, v.cards.Mode())
			return false
		}
	}
	if !v.cards.SetMode(mode) {
		return false
	}
	v.Log.WithField("mode", mode).Info("FPGA mode changed")
	return true
}

// look applies the annotation as it is now, if that can be known soon.
func (v *override) look(ctx context.Context, own *node.Own) {
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	annotation, err := own.Annotation(ctx)
	if err != nil {
		v.Log.WithError(err).Warnf("the mode is %s until the node's annotation can be read", v.cards.Mode())
		return
	}
	v.annotated(annotation)
}

// follow applies the annotation at every change, and keeps the node's label true, until ctx ends.
func (v *override) follow(ctx context.Context, own *node.Own, kick func(families ...string)) {
	own.Changed = func(annotation string) string {
		if v.annotated(annotation) {
			kick(v.cards.Name())
		}
		return string(v.cards.Mode())
	}
	own.Run(ctx)
}

// holders asks the kubelet who holds what.
type holders struct{ socket string }

func (k holders) List(ctx context.Context) (*podresources.Listing, error) {
	return podresources.Client{Socket: k.socket}.List(ctx)
}

func (k holders) Age() (time.Duration, bool) {
	st, err := os.Stat(k.socket)
	if err != nil {
		return 0, !errors.Is(err, os.ErrNotExist)
	}
	return time.Since(st.ModTime()), true
}

// inside gives the place of a path flag with the links on its way resolved inside the host root: an absolute link of
// the host's, such as /var/run → /run, would lead this process out of it. The end of the path need not exist yet.
func (o *options) inside(flag, value string) (string, error) {
	hostPath, err := o.HostPath(flag, value)
	if err != nil {
		return "", err
	}
	rest := ""
	for dir := hostPath; dir != "/"; dir = path.Dir(dir) {
		if real, err := o.Root.Resolve(dir); err == nil {
			return o.Root.Join(path.Join(real, rest)), nil
		}
		rest = path.Join(path.Base(dir), rest)
	}
	return o.Root.Join(hostPath), nil
}
