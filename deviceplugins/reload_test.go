package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/inlay-project/inlay/internal/childtest"
)

const enclave = "sgx.intel.com/enclave"

// withSGX is a node whose SGX driver is loaded, and the configuration file of its DaemonSet: a link that a ConfigMap
// changes, to a file in a folder that is another one each time.
func withSGX(t *testing.T) (root, file string) {
	t.Helper()
	root = shortDir(t)
	for _, node := range []string{"dev/sgx_enclave", "dev/sgx_provision"} {
		write(t, filepath.Join(root, node), "")
	}
	folder := filepath.Join(root, "etc/inlay")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(folder, "inlay.yaml")
	if err := os.Symlink("..data/inlay.yaml", file); err != nil {
		t.Fatal(err)
	}
	return root, file
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// publish changes a ConfigMap's file as the kubelet does: a new folder, then a link by rename.
func publish(t *testing.T, file, text string) {
	t.Helper()
	folder := filepath.Dir(file)
	fresh, err := os.MkdirTemp(folder, "..2026_")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(fresh, filepath.Base(file)), text)
	if err := os.Symlink(filepath.Base(fresh), filepath.Join(folder, "..data_tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")); err != nil {
		t.Fatal(err)
	}
}

func configured(enclaves int, more string) string {
	return fmt.Sprintf("version: v1\nsgx: {enclaveLimit: %d, provisionLimit: 1}\n%s", enclaves, more)
}

func ids(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("sgx-enclave-%d", i))
	}
	return list
}

func TestAChangedConfigurationIsInForceWithoutARestart(t *testing.T) {
	t.Parallel()
	root, file := withSGX(t)
	publish(t, file, configured(2, "nodes: [{names: [n1], sgx: {enclaveLimit: 3}}]"))
	k := startKubelet(t, root)
	d := start(t, root, "--config", file, "--node-name", "n1")
	lists(t, limit, k, enclave, 3, ids(3)...)
	d.Answers(limit, "/readyz", 200, "ready")
	d.Answers(limit, "/metrics", 200, "inlay_config_last_reload_successful 1")

	publish(t, file, configured(4, ""))
	lists(t, limit, k, enclave, 4, ids(4)...)
	d.Says(limit, "configuration read anew", file)

	publish(t, file, configured(4, "families: [fpga]"))
	lists(t, limit, k, enclave, 0)
	publish(t, file, configured(4, ""))
	lists(t, limit, k, enclave, 4, ids(4)...)

	// A mistake changes nothing but what is said; neither does a file that is gone.
	publish(t, file, configured(5, "gpus: {}"))
	d.Answers(limit, "/readyz", 503, "configuration "+file, "gpus")
	d.Answers(limit, "/metrics", 200, "inlay_config_last_reload_successful 0")
	d.Says(limit, "level=error", "stays in force", "gpus")
	if err := os.Remove(filepath.Join(filepath.Dir(file), "..data")); err != nil {
		t.Fatal(err)
	}
	d.Answers(limit, "/readyz", 503, "no such file")
	lists(t, limit, k, enclave, 4, ids(4)...)

	// Nor does a restart: the last good one was kept.
	publish(t, file, configured(5, "gpus: {}"))
	if err := d.Stop(syscall.SIGKILL); err == nil {
		t.Fatal("it ended by itself")
	}
	d = start(t, root, "--config", file, "--node-name", "n1")
	lists(t, limit, k, enclave, 4, ids(4)...)
	d.Answers(limit, "/readyz", 503, "gpus")
	publish(t, file, configured(1, ""))
	lists(t, limit, k, enclave, 1, ids(1)...)
	d.Answers(limit, "/readyz", 200, "ready")

	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
	d = start(t, root, "--config", file, "--sgx-enclave-limit", "2")
	lists(t, limit, k, enclave, 2, ids(2)...)
	publish(t, file, configured(6, ""))
	d.Says(limit, "configuration read anew")
	lists(t, limit, k, enclave, 2, ids(2)...) // a flag beats the file
}

func TestAFirstConfigurationThatCannotBeUsedIsAnError(t *testing.T) {
	root, file := withSGX(t)
	for text, want := range map[string]string{
		configured(-1, ""):      "configuration " + file + ": sgx-enclave-limit: -1",
		"version: v7":           `version: "v7" is unknown`,
		configured(1, "tpu: 1"): "tpu",
	} {
		publish(t, file, text)
		r := run(t, []string{"--host-root", root, "--http", "", "--config", file})
		if r.code != 1 || !strings.Contains(r.stderr, want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%q: %+v", text, r)
		}
	}
	r := run(t, []string{"--host-root", root, "--http", "", "--config", file + "x"})
	if r.code != 1 || !strings.Contains(r.stderr, "configuration: open "+file+"x: no such file") {
		t.Errorf("%+v", r)
	}
}

// An editor truncates before it writes, and a full disk leaves it at that.
func TestAnEmptiedConfigurationChangesNothing(t *testing.T) {
	t.Parallel()
	root, _ := withSGX(t)
	file, kept := filepath.Join(root, "etc/c.yaml"), filepath.Join(root, "var/lib/inlay/configuration.yaml")
	write(t, file, configured(2, ""))
	k := startKubelet(t, root)
	d := start(t, root, "--config", file)
	lists(t, limit, k, enclave, 2, ids(2)...)
	write(t, file, "")
	d.Answers(limit, "/readyz", 503, "configuration "+file+": version: missing")
	lists(t, limit, k, enclave, 2, ids(2)...)
	if text, err := os.ReadFile(kept); string(text) != configured(2, "") {
		t.Errorf("the copy is %q, %v", text, err)
	}
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
	d = start(t, root, "--config", file)
	lists(t, limit, k, enclave, 2, ids(2)...)
	d.Answers(limit, "/readyz", 503, "version: missing")
	write(t, file, configured(1, ""))
	lists(t, limit, k, enclave, 1, ids(1)...)
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}

	// Nor is a copy believed that an earlier version has made of an emptied file.
	write(t, kept, "")
	write(t, file, "gpus: {}")
	r := run(t, []string{"--host-root", root, "--http", "", "--config", file})
	if r.code != 1 || !strings.Contains(r.stderr, "configuration "+file+": version: missing") {
		t.Errorf("%+v", r)
	}
}

// A DaemonSet mounts a ConfigMap that need not be there; the folder is, without a file.
func TestAConfigurationThatNeedNotBeThereMayComeAndGo(t *testing.T) {
	t.Parallel()
	root, file := withSGX(t)
	k := startKubelet(t, root)
	d := start(t, root, "--config", file, "--config-optional", "--sgx-provision-limit", "1")
	lists(t, limit, k, "sgx.intel.com/provision", 1, "sgx-provision-0")
	d.Answers(limit, "/readyz", 200, "ready")

	publish(t, file, configured(2, ""))
	lists(t, limit, k, enclave, 2, ids(2)...)
	publish(t, file, configured(5, "gpus: {}")) // a mistake is one
	d.Answers(limit, "/readyz", 503, "gpus")
	lists(t, limit, k, enclave, 2, ids(2)...)

	if err := os.Remove(filepath.Join(filepath.Dir(file), "..data")); err != nil {
		t.Fatal(err)
	}
	childtest.Eventually(t, limit, func() error { // the default, one a pod
		if _, n := k.Devices(enclave); n != 110 {
			return fmt.Errorf("%d enclaves", n)
		}
		return nil
	})
	d.Answers(limit, "/readyz", 200, "ready")
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
	d = start(t, root, "--config", file, "--config-optional", "--sgx-enclave-limit", "3") // nor is the last one in force again
	lists(t, limit, k, enclave, 3, ids(3)...)
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
	publish(t, file, "gpus: {}") // a mistake since: no file was the last good one
	d = start(t, root, "--config", file, "--config-optional", "--sgx-enclave-limit", "4")
	lists(t, limit, k, enclave, 4, ids(4)...)
	d.Answers(limit, "/readyz", 503, "version: missing")
}

func TestConfigAndValidate(t *testing.T) {
	root, file := withSGX(t)
	publish(t, file, configured(7, "nodes: [{names: ['n*'], sgx: {enclaveLimit: 8}}]"))
	emptied, fifo := filepath.Join(root, "emptied.yaml"), filepath.Join(root, "fifo.yaml")
	write(t, emptied, "")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		env  []string
		code int
		want string // on either stream
	}{
		{"what is in force", []string{"config", "--config", file}, nil, 0, "enclaveLimit: 7\n"},
		{"on one node", []string{"config", "--config", file}, []string{"NODE_NAME=n3"}, 0, "enclaveLimit: 8\n"},
		{"with a flag's twin", []string{"config", "--config", file}, []string{"INLAY_SGX_ENCLAVE_LIMIT=9"}, 0, "enclaveLimit: 9\n"},
		{"without a file", []string{"config"}, nil, 0, "version: v1\n"},
		{"valid", []string{"validate", file}, nil, 0, file + ": valid\n"},
		{"that need not be there", []string{"config", "--config", file + "x", "--config-optional"}, nil, 0, "version: v1\n"},
		{"nor is it checked then", []string{"validate", "--config", file + "x", "--config-optional"}, nil, 0, ": valid\n"},
		{"valid by flag", []string{"validate", "--config", file}, nil, 0, file + ": valid\n"},
		{"nothing to check", []string{"validate"}, nil, 2, "no FILE and no --config"},
		{"two files", []string{"validate", file, file}, nil, 2, "accepts at most 1 arg"},
		{"an emptied file", []string{"validate", emptied}, nil, 1, "configuration " + emptied + ": version: missing"},
		{"an emptied file that need not be there", []string{"config", "--config", emptied, "--config-optional"}, nil, 1, "version: missing"},
		{"a FIFO", []string{"validate", fifo}, nil, 1, fifo + " is a FIFO, not a regular file"},
		{"a folder", []string{"validate", root}, nil, 1, root + " is a folder, not a regular file"},
		{"no such file", []string{"validate", file + "x"}, nil, 1, "no such file"},
		{"discover's flags are checked too", []string{"discover", "--sgx-enclave-limit=-2"}, nil, 2, "--sgx-enclave-limit: -2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, append(tt.args, "--host-root", root), tt.env...)
			if r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
				t.Errorf("%+v, want %d and %q", r, tt.code, tt.want)
			}
		})
	}
	publish(t, file, configured(7, "nodes: [{names: [other], sgx: {enclaveLimit: many}}]"))
	if r := run(t, []string{"validate", file}); r.code != 1 || !strings.Contains(r.stderr, "nodes[0]") {
		t.Errorf("%+v", r)
	}
}

func TestDoctorSaysWhyThereIsNothing(t *testing.T) {
	root := shortDir(t)
	write(t, filepath.Join(root, "dev/sgx_enclave"), "")
	r := run(t, []string{"doctor", "--host-root", root, "--families", "sgx,fpga"})
	other := func(family, with string) string {
		return fmt.Sprintf("%-5s offers nothing\n      - --families: it was not asked for, so nobody has looked\n        try: --families %s\n", family, with)
	}
	want := "fpga  no such hardware on this node\n" +
		other("gpu", "fpga,gpu,sgx") + other("npu", "fpga,npu,sgx") + other("qat", "fpga,qat,sgx") +
		"sgx   offers nothing\n" +
		"      - /dev/sgx_provision: it is missing, while the driver's other node is there\n" +
		"        try: udevadm trigger --subsystem-match=misc, and see that the host's /dev is visible to this process\n" +
		other("dsa", "fpga,sgx,dsa") + other("iaa", "fpga,sgx,iaa") + other("dlb", "fpga,sgx,dlb")
	if r.code != 0 || r.stdout != want || r.stderr != "" {
		t.Errorf("%+v, want\n%s", r, want)
	}
	r = run(t, []string{"doctor", "-o", "json", "--host-root", emulated(t, "dfl:ports=2"), "--families", "fpga"})
	if r.code != 0 || !strings.Contains(r.stdout, `"devices": 2`) || !strings.Contains(r.stdout, `"findings": []`) {
		t.Errorf("%+v", r)
	}
}
