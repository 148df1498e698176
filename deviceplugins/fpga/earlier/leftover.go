package earlier

import (
	"bytes"
	"path"
	"strings"

	"github.com/inlay-project/inlay/internal/hostfs"
)

// hookName is the program of the old system's hook; its hooks.d JSON and its CDI files name it.
const hookName = "intel-fpga-crihook"

const (
	hookFolder = "/opt/intel/fpga-sw"
	hookFile   = hookFolder + "/" + hookName
)

// hooksFolders are where runtimes read hooks.d JSON from.
var hooksFolders = [...]string{"/etc/containers/oci/hooks.d", "/usr/share/containers/oci/hooks.d"}

// NamesHook tells whether a file's text has the old system's hook called.
func NamesHook(text []byte) bool { return bytes.Contains(text, []byte(hookName)) }

// Leftovers gives what the old system has in a host's tree beside sockets and CDI files.
func Leftovers(root *hostfs.Root) []Sign {
	var signs []Sign
	for _, dir := range hooksFolders {
		names, err := root.ReadDir(dir)
		if err != nil {
			continue // no such folder, as on most hosts
		}
		for _, name := range names {
			file := path.Join(dir, name)
			if path.Ext(name) != ".json" {
				continue
			}
			// It is a link into the hook's folder: where that is gone, its name tells.
			text, err := root.ReadFile(file)
			if err == nil && !NamesHook(text) || err != nil && !strings.HasPrefix(name, hookName) {
				continue
			}
			signs = append(signs, Sign{
				Path:   file,
				Reason: "the runtime runs an earlier system's hook (" + hookName + ") by it, beside ours: take it away",
				Remedy: "rm " + file,
			})
		}
	}
	if root.Exists(hookFile) {
		signs = append(signs, Sign{
			Path:   hookFile,
			Reason: "left by an earlier system; nothing of Inlay calls it",
			Remedy: "rm -r " + hookFolder,
		})
	}
	return signs
}
