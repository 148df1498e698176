package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/workdir"
)

// dirPrefix begins the folder of every cluster. It is short, whatever TMPDIR says: there are unix sockets in it. The
// name of the folder is the name of the cluster's cgroup, too.
const dirPrefix = "/tmp/iic-"

// SweepAbandoned takes down clusters whose process was killed before it could.
func SweepAbandoned(ctx context.Context, log io.Writer) {
	workdir.Sweep(dirPrefix, log, func(dir string) error { return integration.TakeDown(ctx, dir) })
}

// KeepLogs copies the logs, those of pods included, to a folder of that name that outlives the cluster, and returns
// their ends and the place.
func (c *Cluster) KeepLogs(name string) string {
	to := workdir.Kept(name)
	if err := os.RemoveAll(to); err != nil { // of an earlier run
		return "keeping logs: " + err.Error()
	}
	var s strings.Builder
	for _, pattern := range []string{"*.log", "*.jsonl", "c/*.log", "h/var/log/pods/*/*/*.log"} {
		files, _ := filepath.Glob(c.path(pattern))
		for _, file := range files {
			if err := workdir.Keep(file, to, keptName(c.Dir, file)); err != nil {
				fmt.Fprintf(&s, "keeping logs: %v\n", err)
			}
		}
	}
	for _, component := range c.Components() {
		fmt.Fprintf(&s, "end of %s:\n%s\n", component.Name(), component.Tail(6))
	}
	fmt.Fprintf(&s, "logs are kept in %s", to)
	return s.String()
}

// keptName is what the copy of a log is called: its place in the cluster's folder becomes part of its name.
func keptName(dir, file string) string {
	place := strings.TrimPrefix(strings.TrimPrefix(file, dir+"/"), "h/var/log/")
	return strings.ReplaceAll(place, "/", "_")
}
