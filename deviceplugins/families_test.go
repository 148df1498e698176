package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/inlay-project/inlay/deviceplugins/racktest"
	"github.com/inlay-project/inlay/internal/childtest"
)

// everything is a node with n devices of every family.
func everything(t testing.TB, n int) (root string, rack racktest.Rack) {
	t.Helper()
	cards := make([]string, n)
	for i := range cards {
		cards[i] = "dfl"
	}
	root = emulated(t, cards...)
	rack = racktest.Rack{Dir: root, PlainNodes: true}
	if err := rack.Fill(n); err != nil {
		t.Fatal(err)
	}
	return root, rack
}

func TestDiscoverShowsAllFamilies(t *testing.T) {
	root, _ := everything(t, 3)
	r := run(t, []string{"discover", "-o", "json", "--host-root", root, "--fpga-mode", "region", "--sgx-enclave-limit", "3", "--sgx-provision-limit", "3"})
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%+v", r)
	}
	var list []advertised
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, a := range list {
		got[a.Resource]++
		if a.Health != "Healthy" || len(a.Nodes) == 0 {
			t.Errorf("%+v", a)
		}
	}
	want := append(slices.Collect(maps.Values(racktest.Families)), region, enclave, "sgx.intel.com/provision")
	for _, resource := range want {
		if got[resource] != 3 {
			t.Errorf("%s: %d devices, want 3", resource, got[resource])
		}
		delete(got, resource)
	}
	if len(got) > 0 {
		t.Errorf("nobody asked for %v", got)
	}
	r = run(t, []string{"doctor", "--host-root", root})
	for _, family := range strings.Fields("fpga gpu npu qat sgx dsa iaa dlb") {
		if !strings.Contains(r.stdout, fmt.Sprintf("%-5s offers ", family)) {
			t.Errorf("%s is not said to offer anything:\n%s", family, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "      - ") {
		t.Errorf("findings on a node that is well:\n%s", r.stdout)
	}
}

func TestOneBrokenDeviceOfEachFamilyLeavesAllOthersUntouched(t *testing.T) {
	t.Parallel()
	root, rack := everything(t, 4)
	for family := range racktest.Families {
		if err := rack.Break(family, 2); err != nil {
			t.Fatal(err)
		}
	}
	setAttr(t, compatOf(root, "dfl-fme.2"), ones)
	// SGX is one device of two nodes: without one of them nothing of it is left to offer.
	provision := filepath.Join(root, "dev/sgx_provision")
	if err := errors.Join(os.Remove(provision), os.Mkdir(provision, 0o755)); err != nil {
		t.Fatal(err)
	}
	k := startKubelet(t, root)
	d := start(t, root, "--fpga-mode", "region")
	for _, resource := range append(slices.Collect(maps.Values(racktest.Families)), region) {
		childtest.Eventually(t, limit, func() error {
			if _, n := k.Devices(resource); n != 3 {
				return fmt.Errorf("%s has %d", resource, n)
			}
			return nil
		})
	}
	for _, resource := range []string{enclave, "sgx.intel.com/provision"} {
		if _, n := k.Devices(resource); n != 0 {
			t.Errorf("%s has %d", resource, n)
		}
	}
	for family := range racktest.Families {
		d.Says(limit, "not offered", "family="+family)
	}
	d.Says(limit, "not offered", "family=sgx")
	d.Answers(limit, "/readyz", 503, "dfl-fme.2")
	d.Answers(limit, "/readyz?exclude=hardware", 200, "ready")
}

// In the mode vfio-pci a device is a whole function, of DSA and of IAA; QAT has VFs by VFIO beside them.
func TestOneBrokenFunctionOfVFIOLeavesAllOthersUntouched(t *testing.T) {
	t.Parallel()
	root, rack := everything(t, 1)
	others := maps.Clone(racktest.Families)
	delete(others, "dsa") // queues are not offered in that mode
	delete(others, "iaa")
	functions := []string{"dsa-vfio", "iaa-vfio", "qat-dc"}
	for _, variant := range functions {
		for i := range 4 {
			if err := rack.Plug(variant, i); err != nil {
				t.Fatal(err)
			}
		}
		if err := rack.Break(variant, 2); err != nil {
			t.Fatal(err)
		}
	}
	k := startKubelet(t, root)
	d := start(t, root, "--fpga-mode", "region", "--dsa-driver", "vfio-pci", "--iaa-driver", "vfio-pci", "--sgx-enclave-limit", "1")
	await := func(want int, resources ...string) {
		t.Helper()
		for _, resource := range resources {
			childtest.Eventually(t, limit, func() error {
				if _, n := k.Devices(resource); n != want {
					return fmt.Errorf("%s has %d, want %d", resource, n, want)
				}
				return nil
			})
		}
	}
	for _, variant := range functions {
		await(3, racktest.Variants[variant])
		d.Says(limit, "not offered", "family="+variant[:3], "is not a character device")
	}
	await(1, append(slices.Collect(maps.Values(others)), region, enclave)...)

	// One that breaks while it is offered goes alone, too.
	for _, variant := range functions {
		if err := rack.Break(variant, 1); err != nil {
			t.Fatal(err)
		}
		childtest.Eventually(t, limit, func() error {
			if _, healthy := k.Devices(racktest.Variants[variant]); healthy != 2 {
				return fmt.Errorf("%s has %d healthy", variant, healthy)
			}
			return nil
		})
	}
	await(1, append(slices.Collect(maps.Values(others)), region, enclave)...)
}

func TestADeviceOfAnyFamilyIsSeenWhenItComesAndGoes(t *testing.T) {
	t.Parallel()
	root, rack := everything(t, 2)
	k := startKubelet(t, root)
	start(t, root)
	for family, resource := range racktest.Families {
		await := func(want int) {
			t.Helper()
			childtest.Eventually(t, limit, func() error {
				if _, n := k.Devices(resource); n != want {
					return fmt.Errorf("%s has %d, want %d", resource, n, want)
				}
				return nil
			})
		}
		await(2)
		if err := rack.Plug(family, 2); err != nil {
			t.Fatal(err)
		}
		await(3)
		if err := rack.Unplug(family, 2); err != nil {
			t.Fatal(err)
		}
		await(2)
	}
}

// A family without devices costs nothing: what it could not write is nobody's trouble.
func TestFoldersThatNoDeviceNeedsDoNotMatter(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"auto", "on", "off"} {
		root := shortDir(t)
		write(t, filepath.Join(root, "var/run/cdi"), "a file")
		write(t, filepath.Join(root, "run/inlay/gpu"), "a file")
		d := start(t, root, "--cdi", mode, "--fpga-grant", "allocate")
		d.Says(limit, "inlay-deviceplugin starts")
		childtest.Eventually(t, limit, func() error { // by then all have been looked at
			if !strings.Contains(d.Output(), "CDI file of registration") {
				return errors.New("SGX was not looked at")
			}
			return nil
		})
		d.Answers(limit, "/readyz", 200, "ready")
		if strings.Contains(d.Output(), "not offered") {
			t.Errorf("--cdi %s: something is said to be left out:\n%s", mode, d.Output())
		}
		if err := d.Stop(syscall.SIGTERM); err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
}
