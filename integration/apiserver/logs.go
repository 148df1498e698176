package apiserver

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/integration/workdir"
)

// KeepLogs copies the logs to a folder of that name that outlives the cluster, and returns their ends and the place.
func (c *Cluster) KeepLogs(name string) string {
	to := workdir.Kept(name)
	var s strings.Builder
	logs, _ := filepath.Glob(c.path("*.log"))
	for _, file := range append(logs, c.auditLog()) {
		if err := workdir.Keep(file, to, filepath.Base(file)); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				fmt.Fprintf(&s, "keeping logs: %v\n", err)
			}
			continue
		}
		if strings.HasSuffix(file, ".log") {
			fmt.Fprintf(&s, "end of %s:\n%s\n", filepath.Base(file), process.Tail(file, 8))
		}
	}
	fmt.Fprintf(&s, "logs are kept in %s", to)
	return s.String()
}
