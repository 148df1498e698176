package main

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// NRI 0.12.4 knows a failure policy by which a hung plugin fails every container of the node. We do not ask for it, and
// this is what that is worth: the library here is 0.12.5.
func TestPlainContainersStartWhileInlayNRIIsStopped(t *testing.T) {
	h := newHost(t)
	p := h.start()
	r := h.runtime(enginetest.Options{})
	waitPlugins(t, r)
	if err := p.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Cmd.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	})
	for range 3 { // the first waits for the runtime's own patience, 2 s; then the plugin is dropped
		began := time.Now()
		wantUntouched(t, r)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a plain container took %s", took)
		}
	}
	adjust, err := r.CreateContainer(t.Context(), testPod(), fpgaContainer())
	if err != nil || len(adjust.GetLinux().GetDevices()) > 0 || len(adjust.GetHooks().GetCreateRuntime()) > 0 {
		t.Errorf("an FPGA container should be bare, for the gate to stop: %v, %v", adjust, err)
	}

	if err := p.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitPlugins(t, r)
	wantGranted(t, r)
}
