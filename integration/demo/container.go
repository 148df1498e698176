package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/nri/pkg/api"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

const resource = "fpga.intel.com/region-" + iface

// request is a pod with one container, as it is after the webhook: the resource, and the function in two variables.
type request struct {
	pod            string
	function       string
	podAnnotations map[string]string // what the pod's author wrote
	noPreStart     bool              // a kubelet between its own restart and our registration skips PreStartContainer
}

// outcome is what became of a request.
type outcome struct {
	owner  kubelet.Owner
	answer kubelet.Answer
	spec   *rspec.Spec
	adjust *api.ContainerAdjustment
	took   map[string]time.Duration
}

// refusal is a no, and who said it.
type refusal struct {
	by  string
	err error
}

func (r *refusal) Error() string { return r.by + ": " + r.err.Error() }

func refused(by string, err error) error { return &refusal{by: by, err: err} }

// create does what kubelet and runtime do between a pod's admission and the start of its program. If nobody objects the
// container is ready to run.
func (n *node) create(ctx context.Context, r request) (*outcome, error) {
	o := &outcome{owner: kubelet.Owner{Namespace: namespace, Pod: r.pod, Container: "main"}, took: map[string]time.Duration{}}
	var err error
	if o.answer, err = n.kubelet.Allocate(ctx, o.owner, kubelet.Request{resource: 1}); err != nil {
		return o, refused("Allocate", err)
	}
	if !r.noPreStart {
		if err := n.kubelet.PreStart(ctx, o.owner); err != nil {
			return o, refused("PreStartContainer", err)
		}
	}
	if err := n.specify(r, o); err != nil {
		return o, err
	}
	n.pods++
	pod := &api.PodSandbox{
		Id: fmt.Sprintf("pod%d", n.pods), Name: r.pod, Uid: fmt.Sprint(n.pods), Namespace: namespace, Annotations: r.podAnnotations,
	}
	ctr := enginetest.ContainerFromSpec(pod, fmt.Sprintf("ctr%d", n.pods), o.owner.Container, o.spec, o.answer.Annotations)
	began := time.Now()
	o.adjust, err = n.runtime.CreateContainer(ctx, pod, ctr)
	o.took["nri"] = time.Since(began)
	if err != nil {
		return o, refused("inlay-nri", err)
	}
	if o.adjust != nil {
		if err := enginetest.ApplyAdjustment(o.spec, o.adjust, nil); err != nil {
			return o, err
		}
	}
	began = time.Now()
	err = n.runHooks(ctx, o)
	o.took["hooks"] = time.Since(began)
	return o, err
}

// specify writes the container's OCI spec and has the CDI library resolve what Allocate named: before NRI is asked, as
// containerd and CRI-O do.
func (n *node) specify(r request, o *outcome) error {
	o.spec = &rspec.Spec{
		Version: rspec.Version,
		Process: &rspec.Process{
			Args: []string{"afu-read"}, Cwd: "/",
			Env: []string{"PATH=/bin", "FPGA_REGION_1=" + iface, "FPGA_AFU_1=" + r.function},
		},
		Linux:       &rspec.Linux{},
		Annotations: maps.Clone(o.answer.Annotations),
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(place(n.dir, "/var/run/cdi")), cdi.WithAutoRefresh(false))
	if err != nil {
		return fmt.Errorf("CDI: %w", err)
	}
	if unresolved, err := cache.InjectDevices(o.spec, o.answer.CDIDevices...); err != nil {
		return fmt.Errorf("CDI devices %v: %w", unresolved, err)
	}
	return nil
}

// runHooks runs the createRuntime hooks one after the other, with the OCI state on their standard input.
func (n *node) runHooks(ctx context.Context, o *outcome) error {
	bundle, err := os.MkdirTemp(n.dir, "bundle")
	if err != nil {
		return err
	}
	config, err := json.Marshal(o.spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
		return err
	}
	state, err := json.Marshal(rspec.State{
		Version: rspec.Version, ID: o.owner.Pod, Status: rspec.StateCreating, Pid: os.Getpid(), Bundle: bundle,
		Annotations: o.spec.Annotations,
	})
	if err != nil {
		return err
	}
	for _, h := range o.spec.Hooks.CreateRuntime {
		if err := n.runHook(ctx, h, state); err != nil {
			return refused(strings.Join(h.Args[:2], " "), err)
		}
	}
	return nil
}

// runHook runs one hook. On a real host its paths are the host's; here the host is the emulated tree.
func (n *node) runHook(ctx context.Context, h rspec.Hook, state []byte) error {
	if h.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, place(n.dir, h.Path), h.Args[1:]...)
	cmd.Args[0] = h.Args[0]
	cmd.Env = append(h.Env, "INLAY_HOST_ROOT="+n.dir)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(state), &said
	if err := cmd.Run(); err != nil {
		line := strings.TrimSpace(said.String())
		if line == "" || strings.Contains(line, "\n") {
			return fmt.Errorf("%w, and not one line on stderr: %q", err, line)
		}
		return errors.New(line)
	}
	return nil
}

// workload runs the container's program: it opens each FPGA port that the container has, as OPAE does, and reads which
// function answers there.
func (n *node) workload(ctx context.Context, o *outcome) ([]string, error) {
	var ids []string
	for _, d := range o.spec.Linux.Devices {
		out, err := exec.CommandContext(ctx, place(n.dir, "/afu-read"), place(n.dir, d.Path)).Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Path, err)
		}
		ids = append(ids, strings.TrimSpace(string(out)))
	}
	return ids, nil
}

// end gives a pod's devices back.
func (n *node) end(o *outcome) { n.kubelet.Free(o.owner) }
