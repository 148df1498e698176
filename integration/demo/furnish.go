package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/inlay-project/inlay/internal/policy"
)

// What the demo is about: two functions that namespace "shop" may have, one that it may not, and one whose bitstream is
// broken. All are for the interface of the emulated cards.
const (
	iface     = "69528db6eb31577a8c3668f9faa081f6"
	preloaded = "d8424dc4a4a3c413f89e433683f9040b" // what the cards hold at first: NLB0
	wanted    = "f7df405cbd7acf7222f144b0b93acd18" // NLB3
	forbidden = "00112233445566778899aabbccddeeff"
	broken    = "0badc0de0badc0de0badc0de0badc0de"

	namespace = "shop"
)

// place gives a path of the host tree as this process sees it.
func place(dir, hostPath string) string { return filepath.Join(dir, hostPath) }

// furnish writes a node's host tree: two cards, a bitstream store, the policy, the hook.
func furnish(ctx context.Context, bin, dir string) error {
	emulator := filepath.Join(bin, "fpga-emulator")
	tool := func(args ...string) error {
		out, err := exec.CommandContext(ctx, emulator, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("fpga-emulator %v: %w: %s", args, err, out)
		}
		return nil
	}
	if err := tool("tree", "--card", "dfl:ports=2,numa=0", "--card", "dfl:ports=1,numa=1", dir); err != nil {
		return err
	}
	store := place(dir, "/srv/intel.com/fpga/"+iface)
	if err := os.MkdirAll(store, 0o755); err != nil {
		return err
	}
	for _, fn := range []string{preloaded, wanted, forbidden, broken} {
		if err := tool("gbs", "--iface", iface, "--afu", fn, "--size", "1000000", filepath.Join(store, fn+".gbs")); err != nil {
			return err
		}
	}
	// Half a copy, as a store on a full disk has: the head promises more than there is.
	if err := os.Truncate(filepath.Join(store, broken+".gbs"), 100); err != nil {
		return err
	}
	if err := writePolicy(dir); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(bin, "afu-read"), place(dir, "/afu-read")); err != nil {
		return err
	}
	return copyFile(filepath.Join(bin, "inlay-hook"), place(dir, "/opt/inlay/bin/inlay-hook"))
}

func writePolicy(dir string) error {
	var ns policy.Namespace
	for name, fn := range map[string]string{"nlb0": preloaded, "nlb3": wanted, "half-copied": broken} {
		ns.Functions = append(ns.Functions, policy.Function{
			Name: name, Interface: iface, Function: fn, Mode: policy.ModeRegion,
		})
	}
	b, err := json.MarshalIndent(policy.Policy{
		Format: policy.Format, Synced: time.Now(), Namespaces: map[string]policy.Namespace{namespace: ns},
	}, "", "  ")
	if err != nil {
		return err
	}
	file := place(dir, "/var/lib/inlay/policy.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}
