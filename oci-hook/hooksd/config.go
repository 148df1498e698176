package hooksd

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"time"
)

const (
	// AnnotationKey is what a container carries when the device plugin's fallback grant wants the hook to run.
	AnnotationKey = "com.intel.fpga.mode"
	// BinaryName is the hook's file name in the folder of the program.
	BinaryName = "inlay-hook"
	// ConfigName is the JSON's file name in the hooks.d folder.
	ConfigName = "inlay-fpga.json"
	// DefaultTimeout bounds the hook. Without one a runtime waits for ever; the kubelet gives up after 2 minutes.
	DefaultTimeout = 60 * time.Second

	schemaVersion = "1.0.0"
	stage         = "createRuntime"
)

// The JSON types are those of the hooks.d schema 1.0.0 (oci-hooks(5)); they are written here because the library that
// reads them is no part of a hook that uses the standard library alone. The tests read the result with that library.
type config struct {
	Version string   `json:"version"`
	Hook    hook     `json:"hook"`
	When    when     `json:"when"`
	Stages  []string `json:"stages"`
}

type hook struct {
	Path    string   `json:"path"`
	Args    []string `json:"args"`
	Timeout int      `json:"timeout"` // seconds
}

type when struct {
	Annotations map[string]string `json:"annotations"`
}

// Config builds the JSON. hookPath is the program as the host sees it; args follow the program's own name.
func Config(hookPath string, timeout time.Duration, args ...string) ([]byte, error) {
	if !filepath.IsAbs(hookPath) {
		return nil, fmt.Errorf("hook path %q is not absolute", hookPath)
	}
	if timeout < time.Second {
		return nil, fmt.Errorf("hook timeout %s is shorter than a second", timeout)
	}
	b, err := json.MarshalIndent(config{
		Version: schemaVersion,
		Hook: hook{
			Path:    hookPath,
			Args:    append([]string{BinaryName}, args...),
			Timeout: int(timeout / time.Second),
		},
		// Both are unanchored regular expressions: the key is pinned at both ends, the value may be anything.
		When:   when{Annotations: map[string]string{"^" + regexp.QuoteMeta(AnnotationKey) + "$": ".*"}},
		Stages: []string{stage},
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}
