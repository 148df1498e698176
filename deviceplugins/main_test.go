package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// asProgram is the role in which this test binary is inlay-deviceplugin.
const asProgram = "inlay-deviceplugin"

func TestMain(m *testing.M) {
	if childtest.Role() == asProgram {
		os.Exit(cli.Main(newCommand()))
	}
	os.Exit(m.Run())
}

// The ids of the specification's samples and the resources that they give.
const (
	iface = "69528db6eb31577a8c3668f9faa081f6"
	nlb3  = "f7df405cbd7acf7222f144b0b93acd18"
	ones  = "ffffffffffffffffffffffffffffffff"

	region = "fpga.intel.com/region-" + iface
	afNLB0 = "fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
	afNLB3 = "fpga.intel.com/af-695.f7d.aVKNtusxV3qMNmj5-qCB9vffQFy9es9yIvFEsLk6zRg"
)

// shortDir is a folder whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "dp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// emulated writes a host tree with these cards.
func emulated(t testing.TB, cards ...string) string {
	t.Helper()
	dir := shortDir(t)
	plug(t, dir, cards...)
	return dir
}

// plug adds cards to a tree that has none yet.
func plug(t testing.TB, dir string, cards ...string) {
	t.Helper()
	var list []emulator.Card
	for _, text := range cards {
		c, err := emulator.ParseCard(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	if err := emulator.WriteTree(dir, list, emulator.PlainNodes()); err != nil {
		t.Fatal(err)
	}
}

// golden makes one of the trees of package card.
func golden(t testing.TB, name string) string {
	t.Helper()
	dir := shortDir(t)
	if err := hostfstest.ExtractFile(dir, filepath.Join("../fpga/card/testdata", name+".txtar"), hostfstest.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// setAttr writes a file of the emulated sysfs, given by a pattern.
func setAttr(t testing.TB, pattern, value string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing matches %s (%v)", pattern, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func afuOf(root, port string) string { return root + "/sys/bus/platform/devices/" + port + "/afu_id" }

func compatOf(root, fme string) string {
	return root + "/sys/bus/platform/devices/" + fme + "/dfl-fme-region.*/fpga_region/region*/compat_id"
}

// command is this program with arguments and an environment of nothing else.
func command(args []string, env ...string) *exec.Cmd {
	cmd := childtest.Command(asProgram, args...)
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// ran is a program that has ended.
type ran struct {
	code           int
	stdout, stderr string
}

func run(t testing.TB, args []string, env ...string) ran {
	t.Helper()
	code, stdout, stderr := childtest.Run(t, command(args, env...))
	return ran{code, stdout, stderr}
}

// start runs the program on a host tree until the test ends.
func start(t testing.TB, root string, args ...string) *childtest.Daemon {
	t.Helper()
	http := childtest.FreeAddress(t)
	return childtest.Start(t, command(append([]string{"--host-root", root, "--http", http, "--log-level", "debug"}, args...)), http)
}

// startKubelet serves the kubelet's sockets of a tree.
func startKubelet(t testing.TB, root string) *kubelet.Kubelet {
	t.Helper()
	k, err := kubelet.Start(root + "/var/lib/kubelet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Stop() })
	return k
}

// lists waits until the kubelet has exactly these devices of a resource, the healthy ones first.
func lists(t testing.TB, limit time.Duration, k *kubelet.Kubelet, resource string, healthy int, ids ...string) {
	t.Helper()
	childtest.Eventually(t, limit, func() error {
		got, n := k.Devices(resource)
		if fmt.Sprint(got) != fmt.Sprint(ids) || n != healthy {
			return fmt.Errorf("%s has %v, %d of them healthy, want %v and %d; resources %v", resource, got, n, ids, healthy, k.Resources())
		}
		return nil
	})
}
