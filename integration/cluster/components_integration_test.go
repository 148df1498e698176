//go:build integration

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/integration"
)

// What chaos rests on: every program can be ended without warning and started again, the cluster goes on, and a pod with
// an FPGA that runs meanwhile keeps it.
func TestTheClusterOutlivesEveryOneOfItsPrograms(t *testing.T) {
	for _, runtime := range []integration.RuntimeName{integration.Containerd, integration.CRIO} {
		t.Run(string(runtime), func(t *testing.T) {
			c := kit.Start(t, Options{
				Runtime: runtime, Cards: []string{"dfl:ports=1", "dfl:ports=1"},
				KubeletConfig: "crashLoopBackOff: {maxContainerRestartPeriod: 1s}\n",
			})
			c.StoreBitstream(integration.NLB3)
			c.InstallInlay(Install{})
			c.WaitAllocatable(region, 2)
			c.Grant("", "nlb3", integration.NLB3, "region")
			ask := map[string]int64{"fpga.intel.com/nlb3": 1}
			stays := PodSpec{Name: "stays", Resources: ask}
			c.RunPod(stays)
			for _, component := range c.Components() {
				before := component.Process().Pid()
				c.must(component.Kill(t.Context()))
				if component.Alive() {
					t.Fatalf("%s is alive", component.Name())
				}
				c.must(component.Start(t.Context()))
				if now := component.Process().Pid(); now == before {
					t.Fatalf("%s is the same process", component.Name())
				}
				pod := PodSpec{Name: "after-" + component.Name(), Resources: ask}
				c.must(c.AwaitInstalled(t.Context()))
				c.WaitAllocatable(region, 2)
				c.RunPod(pod)
				if diff := cmp.Diff(integration.NLB3, onlyFunction(c.Ports(pod))); diff != "" {
					t.Errorf("after %s (-want +got):\n%s", component.Name(), diff)
				}
				c.Delete(pod)
			}
			for _, name := range []string{"inlay-deviceplugin", "inlay-nri"} {
				p := c.Program(name)
				c.must(p.Kill())
				c.must(c.Await(t.Context(), readyLimit, name, func(ctx context.Context) error {
					now, err := c.OneProgram(ctx, name)
					if err == nil && now.Pid == p.Pid {
						err = errors.New("it is the same process")
					}
					return err
				}))
			}
			c.must(c.AwaitInstalled(t.Context()))
			now, err := c.PodNow(t.Context(), "", stays.Name)
			c.must(err)
			c.must(Running(now))
			if n := now.Status.ContainerStatuses[0].RestartCount; n != 0 {
				t.Errorf("the pod that was to stay was restarted %d times", n)
			}
			got, err := c.Exec(t.Context(), "", stays.Name, "sh", "-c", "afu-read /dev/dfl-port.*")
			if err != nil || got != integration.NLB3+"\n" {
				t.Errorf("the pod that was to stay reads %q, %v", got, err)
			}
		})
	}
}

func onlyFunction(ports map[string]string) string {
	if len(ports) != 1 {
		return fmt.Sprint(ports)
	}
	for _, function := range ports {
		return function
	}
	return ""
}

// Nobody may find out by his own things that there was a cluster.
func TestAClusterLeavesNothing(t *testing.T) {
	mounts := func() string {
		data, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	folders := []string{"/etc", "/opt", "/run", "/srv", "/var/lib", "/var/run", "/var/log", "/usr/share", "/usr/libexec", "/dev"}
	// What a node of a cluster has in these folders; other tests of the machine may be at work meanwhile.
	ours := regexp.MustCompile("^(kubelet|kubernetes|cni|inlay|nri|cdi|netns|pods|intel.com|crio|containers|dfl-.*|volume-plugins)$")
	contents := func() map[string][]string {
		all := map[string][]string{}
		for _, f := range folders {
			entries, err := filepath.Glob(f + "/*")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if ours.MatchString(filepath.Base(e)) {
					all[f] = append(all[f], e)
				}
			}
		}
		for name := range tunables {
			value, err := os.ReadFile("/proc/sys/" + name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = []string{string(value)}
		}
		return all
	}
	mountsBefore, contentsBefore := mounts(), contents()
	c, err := New(t.Context(), Options{Tools: kit.Tools(t)})
	if err != nil {
		t.Fatal(err)
	}
	dir, cgroup := c.Dir, c.cgroup()
	pids := map[string]int{}
	for _, component := range c.Components() {
		pids[component.Name()] = component.Process().Pid()
	}
	if diff := cmp.Diff(mountsBefore, mounts()); diff != "" {
		t.Errorf("mounts of this process's namespace (-before +while):\n%s", diff)
	}
	if err := errors.Join(c.Install(t.Context(), Install{}), c.Close()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(contentsBefore, contents()); diff != "" {
		t.Errorf("the machine's folders and settings (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(mountsBefore, mounts()); diff != "" {
		t.Errorf("mounts (-before +after):\n%s", diff)
	}
	for name, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty: it has ended, and who adopted it is slow
		if err == nil && len(line) > 0 {
			t.Errorf("%s (%d) is still there: %q", name, pid, line)
		}
	}
	left, _ := filepath.Glob(cgroupRoot + "/*" + cgroup)
	more, _ := filepath.Glob(cgroupRoot + cgroup)
	if left = append(left, more...); len(left) > 0 {
		t.Errorf("cgroups are left: %v", left)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
	// Whoever it was: nobody has the folder open, or in its command line.
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), dir+"/") {
			t.Errorf("%s is left: %q", f, line)
		}
	}
}

// Manifests and our programs are to find a host with a card, and nothing of the machine that the tests run on.
func TestTheNodeHasItsOwnHostAndNoOther(t *testing.T) {
	c := kit.Start(t, Options{})
	for what, commands := range map[string]string{
		"the card":                 "test -c /dev/dfl-fme.0; test -e /sys/class/fpga_region/region0/; ls /sys/bus/pci/devices/*/device",
		"what programs need":       "test -c /dev/null; echo x > /dev/null; test -e /sys/class/net/cni0; test -e /sys/devices/system/cpu/online",
		"no devices of others":     "test ! -e /dev/mem; test ! -e /sys/class/block; test ! -e /sys/block/vda",
		"no processes of others":   fmt.Sprintf("test ! -e /proc/%d/comm", os.Getpid()) + "; grep -q kubelet /proc/[0-9]*/comm; if grep -q fpga-emulator /proc/[0-9]*/comm; then exit 7; fi",
		"folders of its own":       "touch /opt/a /etc/a /var/lib/a /run/a /srv/a /usr/share/a; test -L /var/run",
		"no network of the others": "test $(ls /sys/class/net | grep -cv -e '^lo$' -e '^cni0$' -e '^veth') = 0",
	} {
		if out, err := c.OnNode(t.Context(), commands); err != nil {
			t.Errorf("%s: %v: %s", what, err, out)
		}
	}
	if _, err := os.Stat(c.HostPath("opt/a")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/opt/a"); err == nil {
		t.Error("a file that was made on the node is on this machine")
	}
	if out, err := c.OnNode(t.Context(), "echo said; false; echo unsaid"); err == nil || out != "said" {
		t.Errorf("a command that fails: %q, %v", out, err)
	}
	c.must(second(c.OnNode(t.Context(), "mkdir -p /run/inlay; mount -t tmpfs -o size=64k tmpfs /run/inlay; touch /run/inlay/here")))
	if _, err := os.Stat(c.NodePath("/run/inlay/here")); err != nil {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// What a killed test leaves is taken down by the next one.
func TestAnAbandonedClusterIsTakenDown(t *testing.T) {
	c, err := New(t.Context(), Options{Tools: kit.Tools(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // by then there is little left of it
	kubelet := c.Kubelet.Process()
	c.unlock() // as the end of this process would
	SweepAbandoned(t.Context(), t.Output())
	if _, err := os.Stat(c.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", c.Dir, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := kubelet.Wait(ctx); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(cgroupRoot + "/*" + c.cgroup()); len(left) > 0 {
		t.Errorf("cgroups are left: %v", left)
	}
}

func TestAnUpgradeBringsImagesOfAnotherVersion(t *testing.T) {
	c := kit.Start(t, Options{})
	c.InstallInlay(Install{})
	images := t.TempDir()
	c.must(BuildImages(t.Context(), c.tools.Tree, images, "v9.9.9"))
	before := c.Program("inlay-nri")
	c.InstallInlay(Install{Images: images})
	if after := c.Program("inlay-nri"); after.Pid == before.Pid {
		t.Error("inlay-nri is the process of before")
	}
	got := c.Kubectl("get", "pods", "-n", NodeNamespace, "-o", "jsonpath={.items[*].spec.containers[*].image}") + " " +
		c.Kubectl("get", "deployments", "-n", SystemNamespace, "-o", "jsonpath={.items[*].spec.template.spec.containers[*].image}")
	if strings.Contains(got, ":"+ImageVersion) || strings.Count(got, ":v9.9.9") != 3 {
		t.Errorf("images: %s", got)
	}
}
