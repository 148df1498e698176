package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	nrinet "github.com/containerd/nri/pkg/net"

	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// beThePlugin is the main function of the pre-installed plugin of the tests below.
func beThePlugin() int {
	config := "none"
	conn, err := Inherited(os.Getenv)
	if err == nil {
		var e *Engine
		e, err = New(Options{
			Conn: conn,
			Configure: func(_ context.Context, c string) error {
				if strings.Contains(c, "invalid") {
					return errors.New("invalid configuration")
				}
				config = c
				return nil
			},
			Adjuster: adjuster{adjust: func(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, error) {
				a := granted()
				a.AddAnnotation("config", config)
				return a, nil
			}},
		})
		if err == nil {
			err = e.Run(context.Background())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		return 1
	}
	return 0
}

func installPlugin(t *testing.T, config string) enginetest.Options {
	t.Helper()
	opts := enginetest.Options{PluginDir: t.TempDir(), ConfigDir: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(opts.PluginDir, "40-inlay")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(opts.ConfigDir, "40-inlay.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return opts
}

func TestStartedByTheRuntime(t *testing.T) {
	r := startRuntime(t, socketPath(t), installPlugin(t, "mode: region"))
	waitPlugins(t, r, 1) // it is there before the runtime serves anybody
	got, err := r.CreateContainer(t.Context(), testPod(), ours("app"))
	if err != nil || !isGranted(got) || got.GetAnnotations()["config"] != "mode: region" {
		t.Errorf("%v, %v", got, err)
	}
	expectUntouched(t, r, plain("app"))
}

func TestStartedByTheRuntimeWithAConfigurationThatIsRefused(t *testing.T) {
	r := startRuntime(t, socketPath(t), installPlugin(t, "invalid"))
	waitPlugins(t, r, 0)
	expectUntouched(t, r, ours("app")) // NRI is like that
}

// startInherited runs an engine on one end of a socket pair.
func startInherited(t *testing.T) (*running, net.Conn) {
	t.Helper()
	t.Setenv(api.PluginNameEnvVar, "inlay")
	t.Setenv(api.PluginIdxEnvVar, "40")
	pair, err := nrinet.NewSocketPair()
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := pair.LocalConn()
	if err != nil {
		t.Fatal(err)
	}
	runtime, err := pair.PeerConn()
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Options{Conn: plugin, Adjuster: adjuster{}})
	if err != nil {
		t.Fatal(err)
	}
	return runEngine(t, e), runtime
}

func TestInheritedConnectionIsServedOnce(t *testing.T) {
	e, conn := startInherited(t)
	p, err := newFakePeer(conn)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(p.answer)
	<-p.registered
	req := &api.ConfigureRequest{RuntimeName: "containerd", RuntimeVersion: "2.4.2", NRIVersion: "v0.12.3", RequestTimeout: 2000}
	if _, err := p.Configure(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	// A second one would hang in the stub in time.
	if _, err := p.Configure(t.Context(), req); err == nil {
		t.Error("configured twice")
	}
	if _, err := p.Synchronize(t.Context(), &api.SynchronizeRequest{}); err != nil {
		t.Fatal(err)
	}
	e.awaitSynchronized(t)
	p.close()
	wg.Wait()
	// Run ends by itself: stop only fetches its result.
	e.awaitStatus(t, "disconnected", func(s nristatus.Status) bool { return !s.Connected })
	if err := e.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestInheritedConnectionThatEndsBeforeTheRegistration(t *testing.T) {
	e, conn := startInherited(t)
	conn.Close()
	select {
	case <-e.ended: // by itself: to be stopped is no error
	case <-time.After(10 * time.Second):
		t.Error("Run goes on without a connection")
	}
	if err := e.stop(); err == nil || !strings.HasPrefix(err.Error(), "register as pre-installed plugin: ") {
		t.Errorf("Run: %v", err)
	}
}

func TestInheritedReadsTheEnvironment(t *testing.T) {
	for env, wantErr := range map[string]bool{"": false, "three": true, "-1": true, "987654": true} {
		conn, err := Inherited(func(string) string { return env })
		if conn != nil || (err != nil) != wantErr {
			t.Errorf("%q: %v, %v", env, conn, err)
		}
	}
}
