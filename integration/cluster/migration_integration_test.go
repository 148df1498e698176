//go:build integration

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/ocitest"
)

// migration is a cluster with the earlier FPGA system, three cards of one port, and docs/migrate.md.
type migration struct {
	*Test
	page, system string
}

const (
	earlierImage  = "inlay.test/earlierplugin:1"
	earlierSpace  = "intelfpgaplugin-system"
	earlierSet    = "intelfpgaplugin-intel-fpga-plugin"
	deleteThePod  = "allocated by an earlier plugin: delete the pod"
	anotherServes = "another FPGA device plugin serves it, so this node's cards are given out twice: " + deleteTheSet
	stillRuns     = "another FPGA device plugin served it before and still runs: " + deleteTheSet
	deleteTheSet  = "delete its DaemonSet (kubectl get daemonset -A -l app=intel-fpga-plugin,app.kubernetes.io/part-of!=inlay)"
)

// startEarlier starts a cluster with the earlier system, installed from testdata/earlier-system.yaml, and the mapping nlb3.
func startEarlier(t *testing.T, runtime integration.RuntimeName) *migration {
	t.Helper()
	c := kit.Start(t, Options{
		Runtime: runtime, Cards: []string{"dfl:ports=1", "dfl:ports=1", "dfl:ports=1"},
		KubeletConfig: "crashLoopBackOff: {maxContainerRestartPeriod: 1s}",
	})
	if tag, err := c.ImageTag(t.Context()); err != nil || tag != ImageVersion {
		t.Skipf("the page's commands name images of the tag %s; those of INLAY_IMAGES have %s (%v)", ImageVersion, tag, err)
	}
	page, err := os.ReadFile(filepath.Join(c.tools.Tree, "docs", "migrate.md"))
	c.must(err)
	system, err := os.ReadFile("testdata/earlier-system.yaml")
	c.must(err)
	c.importEarlierPlugin(t)
	c.must(c.ImportImages(t.Context(), c.tools.Images))
	c.StoreBitstream(integration.NLB3)
	m := &migration{Test: c, page: string(page), system: string(system)}
	m.Apply(m.system)
	m.Kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "acceleratorfunctions.fpga.intel.com")
	// A kind that is Established may take a moment to be served.
	m.must(m.Await(t.Context(), logLimit, "a mapping of the new kind", func(ctx context.Context) error {
		return m.Admin().Try(ctx, Function("", "nlb3", emulator.DefaultInterface, integration.NLB3, "region"), "apply", "-f", "-").Err
	}))
	m.WaitAllocatable(region, 3)
	return m
}

// importEarlierPlugin brings the image of its stand-in to the node.
func (c *Test) importEarlierPlugin(t *testing.T) {
	t.Helper()
	program, archive := filepath.Join(t.TempDir(), "earlierplugin"), filepath.Join(t.TempDir(), "image.tar")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, module+"/integration/workload/earlierplugin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file, err := ocitest.FromHost("/usr/local/bin/earlierplugin", program)
	c.must(err)
	out, err := os.Create(archive)
	c.must(err)
	c.must(errors.Join(ocitest.WriteArchive(out, ocitest.Image{Name: earlierImage, Files: []ocitest.File{file}, Entrypoint: []string{file.Path}}), out.Close()))
	c.must(c.Import(t.Context(), archive))
}

// translated is a pod as the earlier webhook has made it, which asks for a region.
func translated(name string) PodSpec {
	return PodSpec{
		Name: name, Resources: map[string]int64{region: 1},
		Env: map[string]string{"FPGA_REGION_1": emulator.DefaultInterface, "FPGA_AFU_1": integration.NLB3},
	}
}

// byName is a pod that asks for the function by its name.
func byName(name string) PodSpec {
	return PodSpec{Name: name, Resources: map[string]int64{"fpga.intel.com/nlb3": 1}}
}

// port is the only port that a pod sees. It must hold the function.
func (m *migration) port(pod PodSpec, function string) string {
	m.t.Helper()
	ports := m.Ports(pod)
	for name, got := range ports {
		if len(ports) == 1 && got == function {
			return name
		}
	}
	m.t.Fatalf("pod %s sees %v, want one port with %s", pod.Name, ports, function)
	return ""
}

// goesOn checks that a pod's first container still runs, and reads the function at its port.
func (m *migration) goesOn(pod PodSpec, port, function string) {
	m.t.Helper()
	now, err := m.PodNow(m.t.Context(), pod.Namespace, pod.Name)
	m.must(err)
	if err := Running(now); err != nil || now.Status.ContainerStatuses[0].RestartCount > 0 {
		m.t.Errorf("pod %s does not go on undisturbed: %v, %+v", pod.Name, err, now.Status.ContainerStatuses)
		return
	}
	// A kubelet that has just started does not know its pods at once.
	m.must(m.Await(m.t.Context(), logLimit, "pod "+pod.Name, func(ctx context.Context) error {
		got, err := m.Exec(ctx, pod.Namespace, pod.Name, "afu-read", "/dev/"+port)
		if err == nil && got != function+"\n" {
			m.t.Errorf("pod %s reads %q, want %s", pod.Name, got, function)
		}
		return err
	}))
}

// doesNotStartAgain ends a pod's container, and waits until kubectl describe says why it does not start again.
func (m *migration) doesNotStartAgain(pod PodSpec, why *regexp.Regexp) {
	m.t.Helper()
	m.end(pod)
	m.isRefused(pod, why)
}

// end ends a pod's container; the kubelet is to start it again.
func (m *migration) end(pod PodSpec) {
	m.t.Helper()
	now, err := m.PodNow(m.t.Context(), pod.Namespace, pod.Name)
	m.must(err)
	_, id, _ := strings.Cut(now.Status.ContainerStatuses[0].ContainerID, "://")
	all, err := m.Programs("sleep")
	m.must(err)
	for _, p := range all {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Pid))
		if err == nil && strings.Contains(string(groups), id) {
			m.must(p.Kill())
			return
		}
	}
	m.t.Fatalf("pod %s: no process in container %s", pod.Name, id)
}

// isRefused waits until kubectl describe shows an event with the reason.
func (m *migration) isRefused(pod PodSpec, why *regexp.Regexp) {
	m.t.Helper()
	m.must(m.Await(m.t.Context(), podLimit, "the refusal in kubectl describe", func(ctx context.Context) error {
		r := m.Admin().Try(ctx, "", "describe", "pod", pod.Name)
		if r.Err == nil && !why.MatchString(r.Stdout) {
			r.Err = fmt.Errorf("no %q in\n%s", why, r.Stdout)
		}
		return r.Err
	}))
	// The event may be there before the status.
	m.WaitPod(pod, func(now *corev1.Pod) error {
		if s := now.Status.ContainerStatuses; len(s) != 1 || s[0].State.Running != nil || s[0].RestartCount > 0 {
			return fmt.Errorf("it is not refused: %+v", s)
		}
		return nil
	})
}

// earlierHookRuns is how often the earlier system's hook has run.
func (m *migration) earlierHookRuns() int {
	m.t.Helper()
	b, err := os.ReadFile(m.HostPath("var/log/crihook.ran"))
	if !errors.Is(err, os.ErrNotExist) {
		m.must(err)
	}
	return strings.Count(string(b), "\n")
}

// nodePod gives the name and the address of Inlay's pod on the node.
func (m *migration) nodePod() (name, address string) {
	m.t.Helper()
	name, address, _ = strings.Cut(m.Kubectl("get", "pod", "-n", NodeNamespace, "-l", "app.kubernetes.io/name=inlay-node",
		"-o", "jsonpath={.items[0].metadata.name} {.items[0].status.podIP}"), " ")
	return name, address
}

// readyz is what port 9770 of the node's pod says.
func (m *migration) readyz(ctx context.Context) (string, error) {
	_, address := m.nodePod()
	client := http.Client{Transport: &http.Transport{DialContext: m.net.dial, DisableKeepAlives: true}, Timeout: askLimit}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+":9770/readyz", nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

// isReady waits until /readyz says ready, and nothing else.
func (m *migration) isReady() {
	m.t.Helper()
	m.must(m.Await(m.t.Context(), podLimit, "/readyz", func(ctx context.Context) error {
		text, err := m.readyz(ctx)
		if err == nil && strings.TrimSpace(text) != "ready" {
			err = errors.New(text)
		}
		return err
	}))
}

// log is what inlay-deviceplugin has said.
func (m *migration) log(ctx context.Context) (string, error) {
	name, _ := m.nodePod()
	r := m.Admin().Try(ctx, "", "logs", "-n", NodeNamespace, name, "-c", "inlay-deviceplugin")
	return r.Stdout, r.Err
}

// logSays waits until inlay-deviceplugin has said something: the runtime may be slow to write it down.
func (m *migration) logSays(want string) {
	m.t.Helper()
	m.must(m.Await(m.t.Context(), logLimit, "the log", func(ctx context.Context) error {
		log, err := m.log(ctx)
		if err == nil && !strings.Contains(log, want) {
			err = fmt.Errorf("no %q in\n%s", want, log)
		}
		return err
	}))
}

var (
	stepStart = regexp.MustCompile(`(?m)^\d+\. `)
	// otherwise are lines for another kind of installation.
	otherwise = regexp.MustCompile(`(?m)^.*# instead.*\n`)
)

// steps are the numbered steps of a section.
func (m *migration) steps(from, to string) []string {
	m.t.Helper()
	return stepStart.Split(section(m.t.(*testing.T), m.page, from, to), -1)[1:]
}

// run runs the blocks of a part of the page and returns what they print.
func (m *migration) run(part string) string {
	m.t.Helper()
	part = strings.ReplaceAll(otherwise.ReplaceAllString(part, ""), "get node NODE", "get node "+NodeName)
	return m.follow(m.t.(*testing.T), part)
}

// typed are commands that stand in a sentence of the page.
var typed = regexp.MustCompile("`(kubectl [a-z]+ (?:-k )?[a-z]+[ /][^`]+)`")

// does runs the commands in the sentences of a part of the page.
func (m *migration) does(part string) {
	m.t.Helper()
	all := typed.FindAllStringSubmatch(part, -1)
	if len(all) == 0 {
		m.t.Fatalf("no commands in:\n%s", part)
	}
	for _, command := range all {
		_, err := m.Script(m.t.Context(), command[1])
		m.must(err)
	}
}

// says checks that the page says what was seen.
func (m *migration) says(text string) {
	m.t.Helper()
	if !strings.Contains(m.page, text) {
		m.t.Errorf("migrate.md does not say %q", text)
	}
}

func contains(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not show %q:\n%s", what, want, text)
		}
	}
}

// docs/migrate.md there and back, each command as it is written there.
func TestMigrationAndTheWayBackAsTheDocumentationSays(t *testing.T) {
	t.Parallel()
	for _, runtime := range []integration.RuntimeName{integration.Containerd, integration.CRIO} {
		t.Run(string(runtime), func(t *testing.T) {
			t.Parallel()
			if runtime != integration.Containerd {
				long(t)
			}
			m := startEarlier(t, runtime)
			old, kept := translated("old"), translated("kept")
			m.RunPod(old)
			m.RunPod(kept)
			oldPort, keptPort := m.port(old, integration.NLB0), m.port(kept, integration.NLB0)
			if n := m.earlierHookRuns(); n != 2 {
				t.Fatalf("the earlier system's hook ran %d times for 2 pods", n)
			}

			m.there(t)
			m.goesOn(old, oldPort, integration.NLB0)
			m.goesOn(kept, keptPort, integration.NLB0)
			m.logSays("the CDI file of an earlier FPGA plugin is taken over: containers that it allocated to do not start again")
			third := byName("third")
			m.RunPod(third)
			thirdPort := m.port(third, integration.NLB3)
			m.doesNotStartAgain(old, regexp.MustCompile(`Warning +Failed .*/dev/`+oldPort+": "+deleteThePod))
			m.says(deleteThePod)
			// The kubelet itself starts anew, with a checkpoint in which there are answers of both.
			m.must(m.Kubelet.Restart(t.Context()))
			m.WaitAllocatable(region, 3)
			m.goesOn(kept, keptPort, integration.NLB0)
			m.goesOn(third, thirdPort, integration.NLB3)
			m.Delete(old)
			again := byName("old")
			m.RunPod(again)
			if diff := cmp.Diff(oldPort, m.port(again, integration.NLB3)); diff != "" {
				t.Errorf("the pod made anew (-want +got):\n%s", diff)
			}
			m.cleanUp(t)
			if n := m.earlierHookRuns(); n != 2 {
				t.Errorf("the earlier system's hook ran %d times since Inlay came", n-2)
			}
			t.Log("there")

			m.back(t)
			m.goesOn(kept, keptPort, integration.NLB0)
			m.goesOn(third, thirdPort, integration.NLB3)
			m.doesNotStartAgain(third, regexp.MustCompile(`Warning +Failed .*unresolvable CDI devices intel\.cdi\.k8s\.io/fpga=gate`))
			m.says("unresolvable CDI devices intel.cdi.k8s.io/fpga=gate")
			m.doesNotStartAgain(kept, regexp.MustCompile(`Warning +Failed .*unresolvable CDI devices intel\.cdi\.k8s\.io/fpga=dfl-fme\.`))
			m.Delete(third)
			m.Delete(kept)
			runs := m.earlierHookRuns()
			theirs := translated("theirs")
			m.RunPod(theirs)
			if ports := m.Ports(theirs); len(ports) != 1 {
				t.Errorf("a pod of the earlier plugin sees %v", ports)
			}
			if n := m.earlierHookRuns(); n != runs+1 {
				t.Errorf("the earlier system's hook ran %d times for it", n-runs)
			}
			t.Logf("%s:\n%s", runtime, m.Phases.String())
		})
	}
}

// there follows the page until Inlay serves in the earlier plugin's place.
func (m *migration) there(t *testing.T) {
	t.Helper()
	contains(t, "what there is", m.run(section(t, m.page, "## What there is", "## Step by step")),
		earlierSet, "mutatingwebhookconfiguration.admissionregistration.k8s.io/intelfpgaplugin-mutating-webhook-configuration", "nlb3", "old", "kept", region)
	steps := m.steps("## Step by step", "## What happens to pods of the earlier plugin")
	if len(steps) != 5 {
		t.Fatalf("the page has %d steps, want 5", len(steps))
	}
	m.run(steps[0])
	m.must(m.Await(t.Context(), podLimit, "the mapping", func(ctx context.Context) error {
		r := m.Admin().Try(ctx, "", "get", "acceleratorfunctions", "nlb3", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if r.Err == nil && r.Stdout != "True" {
			r.Err = fmt.Errorf("Ready: %q", r.Stdout)
		}
		return r.Err
	}))
	m.run(steps[1])
	m.WaitAllocatable(region, 0)
	contains(t, "step 3", m.run(steps[2]), "successfully rolled out")
	m.WaitAllocatable(region, 3)
	m.isReady()
}

// cleanUp is the page's last step.
func (m *migration) cleanUp(t *testing.T) {
	t.Helper()
	last := m.steps("## Step by step", "## What happens to pods of the earlier plugin")[4]
	const remove = "rm -r /opt/intel/fpga-sw"
	contains(t, "the last step", last, "`"+remove+"`")
	_, err := m.OnNode(t.Context(), remove)
	m.must(err)
	m.run(last)
	m.isReady()
	if left := m.Kubectl("get", "clusterroles,clusterrolebindings,mutatingwebhookconfigurations", "-o", "name"); strings.Contains(left, "intelfpga") {
		t.Errorf("left of the earlier system:\n%s", left)
	}
	m.Kubectl("get", "acceleratorfunction", "nlb3")
}

// back follows the page until the earlier plugin serves again. Pods go on meanwhile, so the Jobs need --force.
func (m *migration) back(t *testing.T) {
	t.Helper()
	_, back, found := strings.Cut(m.page, "\n## The way back\n")
	if !found {
		t.Fatal("the page has no way back")
	}
	steps := stepStart.Split(back, -1)[1:]
	m.does(steps[0])
	refusal, err := m.uninstall(t, "")
	m.must(err) // the Job has failed
	contains(t, "the Job's log", refusal, "default/kept", "default/old", "default/third")
	m.Kubectl("delete", "job", "-n", NodeNamespace, "-l", "app.kubernetes.io/name=inlay-uninstall")
	contains(t, "the way back", steps[0], "`--force`")
	out, err := m.uninstall(t, "--force")
	m.must(err)
	if left := m.ofInlay(t); len(left) > 0 {
		t.Errorf("left on the node: %v\n%s", left, out)
	}
	m.does(steps[1])
	m.Apply(m.system)
	m.WaitAllocatable(region, 3)
	m.Kubectl("get", "acceleratorfunction", "nlb3")
}

// uninstall does step 2 of docs/install.md's uninstallation, with a flag among the arguments of the Job's containers.
// Without one the Job is to fail, and its log is in what is printed.
func (m *migration) uninstall(t *testing.T, flag string) (string, error) {
	t.Helper()
	install, err := os.ReadFile(filepath.Join(m.tools.Tree, "docs", "install.md"))
	m.must(err)
	step := stepStart.Split(section(t, string(install), "### Uninstall", "## With Helm"), -1)[2]
	var script strings.Builder
	for _, block := range fenced.FindAllStringSubmatch(step, -1) {
		script.WriteString(block[1])
		if strings.Contains(block[1], "condition=Complete") {
			break // what follows is for a failure
		}
	}
	text := script.String()
	if flag == "" {
		text = strings.ReplaceAll(text, "condition=Complete", "condition=Failed")
	} else {
		text = strings.Replace(text, `sed "`, `sed "s/--purge]/--purge, `+flag+`]/; `, 1)
	}
	return m.Script(t.Context(), text)
}

// The wrong order: Inlay comes while the earlier plugin serves, in its own mode and in another one.
func TestBothPluginsAtOnceAreNamedAndGiveNothingOutTwice(t *testing.T) {
	t.Parallel()
	m := startEarlier(t, integration.Containerd)
	old := translated("old")
	m.RunPod(old)
	oldPort := m.port(old, integration.NLB0)
	m.InstallInlay(Install{Overlay: "region"})
	m.says("another FPGA device plugin serves it, so this node's cards are given out twice: delete its DaemonSet (kubectl get daemonset -A -l …)")
	m.WaitAllocatable(region, 3)

	t.Run("in the same mode", func(t *testing.T) {
		m.logSays("another live process serves the socket: taking it over")
		m.says("another live process serves the socket: taking it over")
		m.logSays(stillRuns)
		m.says("another FPGA device plugin served it before and still runs: delete its DaemonSet (…)")
		socket := "/device-plugins/" + strings.Replace(region, "/", "-", 1) + ".sock"
		m.must(m.Await(t.Context(), podLimit, "/readyz", func(ctx context.Context) error {
			text, err := m.readyz(ctx)
			if err == nil && !strings.Contains(text, socket+": "+stillRuns) {
				err = fmt.Errorf("no %q of %s in\n%s", stillRuns, socket, text)
			}
			return err
		}))
		// The earlier plugin does not notice.
		if list := m.Kubectl("get", "pods", "-n", earlierSpace); !regexp.MustCompile(`1/1 +Running +0 `).MatchString(list) {
			t.Errorf("the earlier plugin:\n%s", list)
		}
		m.Kubectl("delete", "pod", "-n", earlierSpace, "-l", "app=intel-fpga-plugin")
		m.says("CrashLoopBackOff")
		m.must(m.Await(t.Context(), podLimit, "the earlier plugin's pod", func(ctx context.Context) error {
			r := m.Admin().Try(ctx, "", "get", "pods", "-n", earlierSpace)
			if r.Err == nil && !strings.Contains(r.Stdout, "CrashLoopBackOff") {
				r.Err = errors.New(r.Stdout)
			}
			return r.Err
		}))
		m.isReady()
		m.goesOn(old, oldPort, integration.NLB0)
	})
	t.Run("in another mode", func(t *testing.T) {
		m.Kubectl("patch", "daemonset", earlierSet, "-n", earlierSpace, "--type=json", "-p", `[{"op": "replace", "path": "/spec/template/spec/containers/0/args/0", "value": "-mode=af"}]`)
		af := integration.AFResource(t, integration.Interface, integration.NLB0)
		m.WaitAllocatable(af, 3)
		name, _ := m.nodePod()
		signs := map[string]func(context.Context) (string, error){
			"the log": m.log,
			"/readyz": m.readyz,
			"discover": func(ctx context.Context) (string, error) {
				r := m.Admin().Try(ctx, "", "exec", "-n", NodeNamespace, name, "-c", "inlay-deviceplugin", "--", "/usr/bin/inlay-deviceplugin", "discover", "--host-root=/host")
				return r.Stdout + r.Stderr, r.Err
			},
		}
		socket := "/device-plugins/" + strings.Replace(af, "/", "-", 1) + ".sock"
		for where, look := range signs {
			m.must(m.Await(t.Context(), podLimit, where, func(ctx context.Context) error {
				text, err := look(ctx)
				if err == nil && (!strings.Contains(text, socket) || !strings.Contains(text, anotherServes)) {
					err = fmt.Errorf("no %q of %s in\n%s", anotherServes, socket, text)
				}
				return err
			}))
		}

		// Past our webhook, which refuses a resource that no mapping leads to, until the API server has heard of its end.
		m.Kubectl("delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", WebhookName)
		theirs := PodSpec{Name: "theirs", Resources: map[string]int64{af: 1}}
		m.WaitAdmitted(theirs)
		m.Create(theirs)
		m.isRefused(theirs, regexp.MustCompile(`Warning +Failed .*/dev/dfl-port\.\d: `+deleteThePod))
		m.must(m.Await(t.Context(), podLimit, "discover", func(ctx context.Context) error {
			text, err := signs["discover"](ctx)
			if err == nil && !strings.Contains(text, "held by default/theirs as "+af) {
				err = errors.New(text)
			}
			return err
		}))
		m.WaitAllocatable(region, 2) // inlay-deviceplugin asks the kubelet every 5 s; until then it can give that card out, and inlay-nri refuses
		m.must(m.ApplyOverlay(t.Context(), Install{Overlay: "region"}))
		m.Grant("", "nlb3", integration.NLB3, "region")
		ours := byName("ours")
		m.RunPod(ours)
		if port := m.port(ours, integration.NLB3); port == oldPort {
			t.Errorf("two pods have %s", port)
		}
		m.goesOn(old, oldPort, integration.NLB0)
		m.Delete(theirs)
	})
	m.run(m.steps("## Step by step", "## What happens to pods of the earlier plugin")[1])
	m.isReady()
	m.goesOn(old, oldPort, integration.NLB0)
}
