package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// asked is an NRI runtime with one plugin process.
type asked struct {
	runtime *enginetest.Runtime
	plugin  *process.Process
	end     func()
}

// ask starts a runtime in dir, and the plugin that connects to it.
func (b *bench) ask(ctx context.Context, dir, name, path string, args ...string) (*asked, error) {
	socket := filepath.Join(dir, "nri.sock")
	runtime, err := enginetest.Start(socket, enginetest.Options{})
	if err != nil {
		return nil, err
	}
	p, end, err := b.start(dir, name, path, append(args, "--nri-socket", socket)...)
	if err != nil {
		runtime.Stop()
		return nil, err
	}
	a := &asked{runtime: runtime, plugin: p, end: func() { end(); runtime.Stop() }}
	connect, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := runtime.WaitPlugins(connect, 1); err != nil {
		a.end()
		return nil, ended(err, p)
	}
	return a, nil
}

// roundTrip compares what a plain container's creation spends in NRI when inlay-nri is asked, a process as on a node,
// and when the empty plugin is: request by request in turn. It is the finest look at what containers pay for us, since
// a runtime's own work would drown the difference.
func roundTrip(ctx context.Context, b *bench) ([]row, error) {
	var plugins [2]*asked
	for i := range plugins {
		dir, remove, err := b.folder()
		if err != nil {
			return nil, err
		}
		defer remove()
		name, path, args := "inlay-nri", b.ours("inlay-nri"), []string{"--host-root", dir, "--podresources", "", "--http", ""}
		if i == 1 {
			name, path, args = "emptyplugin", b.helper("emptyplugin"), nil
		}
		if plugins[i], err = b.ask(ctx, dir, name, path, args...); err != nil {
			return nil, err
		}
		defer plugins[i].end()
	}
	var took [2]times
	n := b.samples(20000, 1000)
	for i := range n {
		for which, a := range plugins {
			pod, ctr := plainContainer(i)
			began := time.Now()
			if _, err := a.runtime.CreateContainer(ctx, pod, ctr); err != nil {
				return nil, ended(err, a.plugin)
			}
			took[which] = append(took[which], time.Since(began))
		}
	}
	more := bootstrap(medianDifference, took[0].seconds(), took[1].seconds())
	return []row{{
		what:   "a plain container's request through NRI to the inlay-nri process less to an empty plugin, p50",
		figure: more.text(" µs", 1e6, 1), baseline: fmt.Sprintf("empty plugin: %s, inlay-nri: %s", show(took[1].p(50)), show(took[0].p(50))),
		samples: fmt.Sprintf("%d each, in turn", n),
	}}, nil
}
