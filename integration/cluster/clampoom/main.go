// Command clampoom stands before runc where root may not lower oom_score_adj, as in the containers of build machines:
// it raises what a container asks for to what this process has, and then becomes runc. CRI-O has no such option, unlike
// containerd.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	runtime, err := prepare(os.Args[1:])
	if err == nil {
		err = syscall.Exec(runtime, append([]string{runtime}, os.Args[1:]...), os.Environ()) // returns only with an error
	}
	fmt.Fprintln(os.Stderr, "clampoom:", err)
	os.Exit(1)
}

// prepare clamps the container that is to be created, if one is, and gives the runtime's path: the text of the file
// beside this program.
func prepare(args []string) (runtime string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path, err := os.ReadFile(self + ".runtime")
	if err != nil {
		return "", err
	}
	if bundle := bundleOf(args); bundle != "" {
		if err := clamp(filepath.Join(bundle, "config.json")); err != nil {
			return "", err
		}
	}
	return strings.TrimSpace(string(path)), nil
}

// bundleOf is the bundle of a command line that creates a container.
func bundleOf(args []string) string {
	for i, a := range args {
		switch {
		case (a == "--bundle" || a == "-b") && i+1 < len(args):
			return args[i+1]
		case strings.HasPrefix(a, "--bundle="):
			return strings.TrimPrefix(a, "--bundle=")
		}
	}
	return ""
}

// clamp rewrites the configuration if it asks for less than this process has.
func clamp(file string) error {
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return err
	}
	least, err := strconv.ParseInt(strings.TrimSpace(string(own)), 10, 32)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed, err := raise(data, least)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if changed == nil {
		return nil
	}
	return os.WriteFile(file, changed, 0o600)
}

// raise gives the configuration with its oomScoreAdj raised to least, or nil if it is no lower.
func raise(config []byte, least int64) ([]byte, error) {
	var spec map[string]any
	d := json.NewDecoder(bytes.NewReader(config))
	d.UseNumber() // what is passed on is to be what came
	if err := d.Decode(&spec); err != nil {
		return nil, err
	}
	process, _ := spec["process"].(map[string]any)
	value, ok := process["oomScoreAdj"].(json.Number)
	if !ok {
		return nil, nil
	}
	if asked, err := value.Int64(); err != nil || asked >= least {
		return nil, err
	}
	process["oomScoreAdj"] = least
	return json.Marshal(spec)
}
