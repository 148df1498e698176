package integration

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// How soon a plain container must run whatever is wrong with Inlay: within plainLimit, as
// the runtime waits up to 2 s for a plugin that hangs before it drops it, and plainTimes
// what it took without Inlay on this machine, which may be busy.
const (
	plainLimit = 3 * time.Second
	plainTimes = 10
)

// Plain is what was seen of a plain container: its OCI configuration without what differs
// from one container to the next, and how long creating and starting it took.
type Plain struct {
	Spec string
	Took time.Duration
}

// PlainContainer runs a container that has nothing to do with FPGAs in a pod of its own,
// which it removes.
func (n *Node) PlainContainer() Plain {
	n.t.Helper()
	pod := n.RunPod("plain-" + n.newUID())
	var c *Container
	took := Elapsed(func() { c = pod.Run(Shell("sleep 600")) })
	spec := withoutIDs(n.t.Fatal, c.OCISpec(), map[string]string{
		c.ID: "<container>", pod.ID: "<pod>", pod.Spec.Name: "<name>", pod.Spec.UID: "<uid>",
	})
	pod.End()
	return Plain{spec, took}
}

// MustBePlain checks that a plain container starts in time and equals the reference,
// which PlainContainer gave on the same node without Inlay.
func (n *Node) MustBePlain(when string, reference Plain) {
	n.t.Helper()
	is, limit := n.PlainContainer(), plainLimit+plainTimes*reference.Took
	if is.Took > limit {
		n.t.Errorf("%s: a plain container took %v to start, more than %v; without us it took %v", when, is.Took, limit, reference.Took)
	}
	if diff := cmp.Diff(reference.Spec, is.Spec); diff != "" {
		n.t.Errorf("%s: a plain container was changed (-without us +with us):\n%s", when, diff)
	}
}

// unique is what runtimes make anew for each container, and what stands for it: the
// namespaces of the pod, on CRI-O also the layer and the time.
var unique = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`/proc/[0-9]+/ns/`), "/proc/<pid>/ns/"},
	{regexp.MustCompile(`/(ipc|uts)ns/[0-9a-f-]{36}"`), `/${1}ns/<namespace>"`},
	{regexp.MustCompile(`/overlay/[0-9a-f]{64}/merged"`), `/overlay/<layer>/merged"`},
	{regexp.MustCompile(`"io.kubernetes.cri-o.Created": "[^"]*"`), `"io.kubernetes.cri-o.Created": "<time>"`},
}

// withoutIDs writes an OCI configuration as text in which ids are replaced by names.
func withoutIDs(fatal func(...any), spec map[string]any, names map[string]string) string {
	data, err := json.MarshalIndent(spec, "", " ")
	if err != nil {
		fatal(fmt.Errorf("OCI configuration: %w", err))
	}
	text := string(data)
	for id, name := range names {
		text = strings.ReplaceAll(text, id, name)
	}
	for _, u := range unique {
		text = u.what.ReplaceAllString(text, u.name)
	}
	return text
}
