package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/inlay-project/inlay/internal/policy"
)

// namespace is where the containers of the measurements live.
const namespace = "shop"

// writePolicy allows the namespace both functions.
func writePolicy(file string) error {
	var ns policy.Namespace
	for _, afu := range []string{nlb0, nlb3} {
		ns.Functions = append(ns.Functions, policy.Function{
			Name: afu[:8], Interface: iface, Function: afu, Mode: policy.ModeRegion,
		})
	}
	data, err := json.Marshal(policy.Policy{
		Format: policy.Format, Synced: time.Now(), Namespaces: map[string]policy.Namespace{namespace: ns},
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

func copyProgram(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}
