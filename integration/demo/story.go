package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/inlay-project/inlay/internal/record"
)

// story tells the demo, step by step. An error is something that kept it from going on.
func story(ctx context.Context, bin, dir string) error {
	n := &node{bin: bin, dir: dir}
	t := &timeline{began: time.Now()}
	err := tell(ctx, n, t)
	if err != nil {
		for _, d := range []*daemon{n.plugin, n.nri} {
			if d != nil {
				say("--- log of %s\n%s", filepath.Base(d.cmd.Path), d.log.String())
			}
		}
	}
	if stopErr := n.stop(); stopErr != nil {
		err = errors.Join(err, stopErr)
	}
	return errors.Join(err, t.end())
}

func tell(ctx context.Context, n *node, t *timeline) error {
	say("Inlay on an emulated node: two FPGA cards with three ports, each holding function %s (NLB0).", short(preloaded))
	say("✓ marks what was promised and verified.")
	for _, chapter := range []func(context.Context, *node, *timeline) error{
		theNode, aPod, again, forged, notAllowed, brokenBitstream, stopped, withoutNRI,
	} {
		if err := chapter(ctx, n, t); err != nil {
			return err
		}
	}
	return nil
}

func theNode(ctx context.Context, n *node, t *timeline) error {
	t.heading("The node comes up")
	if err := n.startKubelet(); err != nil {
		return err
	}
	if err := n.startRuntime(); err != nil {
		return err
	}
	if err := n.startPlugin(); err != nil {
		return err
	}
	err := n.kubelet.WaitForHealthy(ctx, resource, 2)
	t.check(err == nil, "inlay-deviceplugin", "registered with the kubelet: 2 × %s", resource)
	if err != nil {
		return err
	}
	err = n.startNRI(ctx)
	t.check(err == nil, "inlay-nri", "connected to the container runtime and synchronised")
	return err
}

func aPod(ctx context.Context, n *node, t *timeline) error {
	t.heading("A pod asks for one region with function %s (NLB3)", short(wanted))
	o, err := n.create(ctx, request{pod: "pod-1", function: wanted})
	if err != nil {
		return err
	}
	key, value := "", ""
	for k, v := range o.answer.Annotations {
		if strings.HasPrefix(k, record.Prefix) {
			key, value = k, v
		}
	}
	t.check(len(o.answer.Nodes) == 0 && value != "", "kubelet, Allocate",
		"the answer holds no device node, only the record %s: %s and the gate", key[:len(record.Prefix)+10]+"…", value)
	t.check(len(o.spec.Linux.Devices) == 1, "inlay-nri",
		"checked record, kubelet and policy; gave the container %s and the program hook, in %.1f ms", devices(o), ms(o.took["nri"]))
	hooks := o.spec.Hooks.CreateRuntime
	t.check(len(hooks) == 2 && hooks[0].Args[1] == "gate" && hooks[1].Args[1] == "program", "inlay-hook gate",
		"runs before the container: inlay-nri saw it, so it may go on")
	pr, err := n.reconfigurations()
	if err != nil {
		return err
	}
	t.check(len(pr) == 1 && pr[0].Loaded == wanted, "inlay-hook program",
		"verified the bitstream, had the kernel program the port (%.2f s) and read the function back", o.took["hooks"].Seconds())
	ids, err := n.workload(ctx, o)
	t.check(err == nil && len(ids) == 1 && ids[0] == wanted, "the pod's program",
		"opened its port and mapped it, as OPAE does: function %s answers", strings.Join(ids, " "))
	n.end(o)
	return err
}

func again(ctx context.Context, n *node, t *timeline) error {
	t.heading("The next pod asks for the same function")
	o, err := n.create(ctx, request{pod: "pod-2", function: wanted})
	if err != nil {
		return err
	}
	pr, err := n.reconfigurations()
	t.check(err == nil && len(pr) == 1, "inlay-hook program",
		"found the port holding it: ready in %.0f ms, nothing was programmed", ms(o.took["hooks"]))
	n.end(o)
	return err
}

func forged(ctx context.Context, n *node, t *timeline) error {
	t.heading("Refused: a pod that writes the allocation record itself")
	return expect(ctx, n, t, request{
		pod: "forger", function: wanted,
		podAnnotations: map[string]string{record.Key("region-" + iface): "dfl-fme.1@0000:40:00.0"},
	}, "inlay-nri", "only the device plugin may set")
}

func notAllowed(ctx context.Context, n *node, t *timeline) error {
	t.heading("Refused: a function that the namespace has no mapping for")
	return expect(ctx, n, t, request{pod: "curious", function: forbidden}, "inlay-nri", "no AcceleratorFunction")
}

func brokenBitstream(ctx context.Context, n *node, t *timeline) error {
	t.heading("Refused: a bitstream that was only half copied to the node")
	return expect(ctx, n, t, request{pod: "unlucky", function: broken}, "inlay-nri", ".gbs")
}

func stopped(ctx context.Context, n *node, t *timeline) error {
	t.heading("Refused: inlay-nri hangs, so the runtime gives up on it and goes on without")
	connection, err := n.waitNRI(ctx)
	if err != nil {
		return err
	}
	if err := n.nri.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	r := request{pod: "patient", function: wanted, noPreStart: true}
	err = expect(ctx, n, t, r, "inlay-hook gate", "did not see this container")
	if contErr := n.nri.signal(syscall.SIGCONT); err != nil || contErr != nil {
		return errors.Join(err, contErr)
	}
	if _, err := n.waitNRI(ctx, connection); err != nil {
		return err
	}
	t.tell("inlay-nri", "runs again and has reconnected by itself")
	o, err := n.create(ctx, r)
	t.check(err == nil && len(o.spec.Linux.Devices) == 1, "the same pod", "is created again by the kubelet, and starts")
	n.end(o)
	return err
}

func withoutNRI(ctx context.Context, n *node, t *timeline) error {
	t.heading("Refused: inlay-nri is gone")
	if err := n.nri.kill(); err != nil {
		return err
	}
	r := request{pod: "early", function: wanted}
	if err := expect(ctx, n, t, r, "PreStartContainer", "inlay-nri"); err != nil {
		return err
	}
	t.tell("", "and if the kubelet does not ask (between its own restart and our registration it does not):")
	r.noPreStart = true
	return expect(ctx, n, t, r, "inlay-hook gate", "did not see this container")
}

// expect is a request that has to be refused, by somebody, in words that name the cause, and without anything having
// been programmed.
func expect(ctx context.Context, n *node, t *timeline, r request, by, because string) error {
	before, err := n.reconfigurations()
	if err != nil {
		return err
	}
	o, err := n.create(ctx, r)
	n.end(o)
	after, countErr := n.reconfigurations()
	if countErr != nil {
		return countErr
	}
	var no *refusal
	if err != nil && !errors.As(err, &no) {
		return err
	}
	switch {
	case no == nil:
		t.check(false, by, "pod %s was not refused", r.pod)
	case no.by != by || !strings.Contains(no.err.Error(), because):
		t.check(false, by, "pod %s was refused by %s with: %v", r.pod, no.by, no.err)
	default:
		t.check(len(before) == len(after), by, "“%s”", plain(no.err))
	}
	if by == "inlay-hook gate" && o.spec != nil {
		t.check(o.spec.Linux == nil || len(o.spec.Linux.Devices) == 0, "the container", "would have had no FPGA even if it had started")
	}
	return nil
}

// plain takes off what only says through which doors an error came.
func plain(err error) string {
	text := err.Error()
	for _, prefix := range []string{" desc = ", "inlay-hook: "} {
		if i := strings.LastIndex(text, prefix); i >= 0 {
			text = text[i+len(prefix):]
		}
	}
	return text
}

func devices(o *outcome) string {
	var paths []string
	for _, d := range o.spec.Linux.Devices {
		paths = append(paths, fmt.Sprintf("%s (%d:%d)", d.Path, d.Major, d.Minor))
	}
	return strings.Join(paths, ", ")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// call is a line of the emulator's record.
type call struct {
	Request string `json:"request"`
	Result  int    `json:"result"`
	Loaded  string `json:"loaded"`
}

// reconfigurations lists what the cards were made to load.
func (n *node) reconfigurations() ([]call, error) {
	f, err := os.Open(filepath.Join(n.dir, "calls.jsonl"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []call
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, err
		}
		if c.Request == "0xb680" && c.Result == 0 {
			list = append(list, c)
		}
	}
	return list, lines.Err()
}
