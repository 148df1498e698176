package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// program is a command as a daemon has it, that remembers what it was told.
type program struct {
	cmd         *cobra.Command
	common      *Common
	ran         string // name of the command whose RunE ran
	kubeletDir  string
	podResource string
	nodeName    string
	timeout     time.Duration
	num         int
	body        func(ctx context.Context) error
}

func newProgram(t *testing.T) *program {
	t.Helper()
	p := &program{body: func(context.Context) error { return nil }}
	runE := func(cmd *cobra.Command, _ []string) error {
		p.ran = cmd.Name()
		return p.body(cmd.Context())
	}
	p.cmd = &cobra.Command{Use: "inlay-test", RunE: runE}
	p.cmd.AddCommand(&cobra.Command{Use: "discover", RunE: runE}, &cobra.Command{Use: "check", Args: cobra.MaximumNArgs(1), RunE: runE})
	p.common = Add(p.cmd, ":9999")
	p.common.Path(&p.kubeletDir, "kubelet-dir", "/var/lib/kubelet", "the kubelet's folder")
	p.common.PathBelow(&p.podResource, "podresources", "kubelet-dir", "pod-resources/kubelet.sock", "its socket")
	fs := p.cmd.PersistentFlags()
	fs.StringVar(&p.nodeName, "node-name", "", "the node")
	if err := AlsoEnv(fs, "node-name", "NODE_NAME"); err != nil {
		t.Fatal(err)
	}
	fs.DurationVar(&p.timeout, "hook-timeout", time.Minute, "how long a hook may take")
	p.cmd.Flags().String("own", "yes", "a flag of the root command alone")
	fs.IntVar(&p.num, "gpu-shared-dev-num", 1, "containers a GPU")
	return p
}

// run gives exit code and stderr.
func (p *program) run(args []string, env map[string]string) (int, string) {
	var stderr bytes.Buffer
	get := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	code := run(context.Background(), p.cmd, p.common, args, get, &stderr)
	return code, stderr.String()
}

func TestTheFlagBeatsTheEnvironmentAndTheEnvironmentTheDefault(t *testing.T) {
	root := t.TempDir()
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"defaults", nil, nil, "1m0s 1 '' http=:9999"},
		{"environment", nil, map[string]string{"INLAY_HOOK_TIMEOUT": "5s", "INLAY_GPU_SHARED_DEV_NUM": "3"}, "5s 3 '' http=:9999"},
		{"flag", []string{"--hook-timeout=7s"}, map[string]string{"INLAY_HOOK_TIMEOUT": "5s"}, "7s 1 '' http=:9999"},
		{"flag equal to the default", []string{"--hook-timeout=1m"}, map[string]string{"INLAY_HOOK_TIMEOUT": "5s"}, "1m0s 1 '' http=:9999"},
		{"a wrong variable does not matter where the flag is given", []string{"--hook-timeout=7s"}, map[string]string{"INLAY_HOOK_TIMEOUT": "x"}, "7s 1 '' http=:9999"},
		{"set but empty", nil, map[string]string{"INLAY_HTTP": ""}, "1m0s 1 '' http="},
		{"further variable", nil, map[string]string{"NODE_NAME": "n1"}, "1m0s 1 'n1' http=:9999"},
		{"twin before further variable", nil, map[string]string{"NODE_NAME": "n1", "INLAY_NODE_NAME": "n2"}, "1m0s 1 'n2' http=:9999"},
		{"sub-command", []string{"discover"}, map[string]string{"INLAY_GPU_SHARED_DEV_NUM": "3"}, "1m0s 3 '' http=:9999"},
		{"flag before sub-command", []string{"--gpu-shared-dev-num=4", "discover"}, map[string]string{"INLAY_GPU_SHARED_DEV_NUM": "3"}, "1m0s 4 '' http=:9999"},
		{"others' variables", nil, map[string]string{"INLAY_WEBHOOK_PORT": "tcp://10.0.0.1:443"}, "1m0s 1 '' http=:9999"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t)
			code, stderr := p.run(append(tt.args, "--host-root="+root), tt.env)
			if code != 0 || stderr != "" {
				t.Fatalf("exit code %d, stderr %q", code, stderr)
			}
			got := fmt.Sprintf("%s %d '%s' http=%s", p.timeout, p.num, p.nodeName, p.common.HTTP)
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPathsLieBelowTheHostRoot(t *testing.T) {
	root := t.TempDir()
	for _, tt := range []struct {
		name string
		args []string
		want []string // run-dir, state-dir, bitstreams, kubelet-dir, podresources
	}{
		{"defaults", []string{"--host-root", root}, []string{
			root + "/run/inlay", root + "/var/lib/inlay", root + "/srv/intel.com/fpga",
			root + "/var/lib/kubelet", root + "/var/lib/kubelet/pod-resources/kubelet.sock",
		}},
		{"the machine itself", nil, []string{
			"/run/inlay", "/var/lib/inlay", "/srv/intel.com/fpga", "/var/lib/kubelet", "/var/lib/kubelet/pod-resources/kubelet.sock",
		}},
		{"one given", []string{"--host-root", root, "--run-dir", "/tmp/x"}, []string{
			"/tmp/x", root + "/var/lib/inlay", root + "/srv/intel.com/fpga",
			root + "/var/lib/kubelet", root + "/var/lib/kubelet/pod-resources/kubelet.sock",
		}},
		{"what lies below a given one", []string{"--kubelet-dir", "/k/"}, []string{
			"/run/inlay", "/var/lib/inlay", "/srv/intel.com/fpga", "/k/", "/k/pod-resources/kubelet.sock",
		}},
		{"empty turns off", []string{"--podresources="}, []string{
			"/run/inlay", "/var/lib/inlay", "/srv/intel.com/fpga", "/var/lib/kubelet", "",
		}},
		{"and what lies below it", []string{"--kubelet-dir="}, []string{
			"/run/inlay", "/var/lib/inlay", "/srv/intel.com/fpga", "", "",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t)
			if code, stderr := p.run(tt.args, nil); code != 0 {
				t.Fatalf("exit code %d, stderr %q", code, stderr)
			}
			got := []string{p.common.RunDir, p.common.StateDir, p.common.Bitstreams, p.kubeletDir, p.podResource}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHostPathTakesThePrefixOffAndNamesTheFlagOfAPathOutside(t *testing.T) {
	root := t.TempDir()
	p := newProgram(t)
	p.body = func(context.Context) error {
		got, err := p.common.HostPath("run-dir", p.common.RunDir)
		if err != nil || got != "/run/inlay" {
			t.Errorf("HostPath(%s) = %q, %v", p.common.RunDir, got, err)
		}
		_, err = p.common.HostPath("cdi-dir", filepath.Join(filepath.Dir(root), "elsewhere"))
		return err
	}
	code, stderr := p.run([]string{"--host-root", root}, nil)
	if code != 1 || !strings.HasPrefix(stderr, "inlay-test: --cdi-dir: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestAMistakeInTheCallIsOneLineThatNamesIt(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		code int
		want string // in the first line
	}{
		{"unknown flag", []string{"--frobnicate"}, nil, 2, "--frobnicate"},
		{"flag's value", []string{"--hook-timeout=soon"}, nil, 2, "--hook-timeout"},
		{"variable's value", nil, map[string]string{"INLAY_HOOK_TIMEOUT": "soon"}, 2, `INLAY_HOOK_TIMEOUT="soon": time: invalid duration`},
		{"variable empty where a number is needed", nil, map[string]string{"INLAY_GPU_SHARED_DEV_NUM": ""}, 2, `INLAY_GPU_SHARED_DEV_NUM=""`},
		{"log level", []string{"--log-level=loud"}, nil, 2, `--log-level "loud" is none of error, warn, info, debug, trace`},
		{"log format", nil, map[string]string{"INLAY_LOG_FORMAT": "xml"}, 2, `--log-format "xml" is none of text, json`},
		{"empty folder", []string{"--run-dir="}, nil, 2, "--run-dir is empty"},
		{"empty root", []string{"--host-root="}, nil, 2, "--host-root is empty"},
		{"argument", []string{"start"}, nil, 2, `"start"`},
		{"argument of a sub-command", []string{"discover", "all"}, nil, 2, `"all"`},
		{"more arguments than a sub-command takes", []string{"check", "a", "b"}, nil, 2, "check: accepts at most 1 arg"},
		{"no such root", []string{"--host-root=/nonexistent/root"}, nil, 1, "--host-root: host root /nonexistent/root"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t)
			code, stderr := p.run(tt.args, tt.env)
			first, _, _ := strings.Cut(stderr, "\n")
			if code != tt.code || !strings.HasPrefix(first, "inlay-test: ") || !strings.Contains(first, tt.want) {
				t.Errorf("exit code %d, stderr %q; want %d and %q", code, stderr, tt.code, tt.want)
			}
			if tt.code == 2 && strings.Contains(first, "for \"--hook-timeout\" flag") && tt.env != nil {
				t.Errorf("%q blames a flag that nobody gave", first)
			}
			if p.ran != "" {
				t.Errorf("%s ran", p.ran)
			}
		})
	}
}

func TestErrorsBecomeOneLine(t *testing.T) {
	p := newProgram(t)
	p.body = func(context.Context) error {
		return errors.Join(errors.New("card a: sick"), errors.New("card b:\n\tgone"))
	}
	code, stderr := p.run(nil, nil)
	if want := "inlay-test: card a: sick; card b:; gone\n"; code != 1 || stderr != want {
		t.Errorf("exit code %d, stderr %q, want %q", code, stderr, want)
	}
}

func TestToBeStoppedIsNoFailureButAnErrorWhileStoppingIs(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  func(ctx context.Context) error
		code int
	}{
		{"clean", func(ctx context.Context) error { return ctx.Err() }, 0},
		{"wrapped", func(ctx context.Context) error { return fmt.Errorf("serve: %w", ctx.Err()) }, 0},
		{"nil", func(context.Context) error { return nil }, 0},
		{"other", func(context.Context) error { return errors.New("socket left behind") }, 1},
		{"somebody else's deadline", func(context.Context) error { return context.DeadlineExceeded }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			p.body = func(ctx context.Context) error {
				cancel()
				<-ctx.Done()
				return tt.err(ctx)
			}
			var stderr bytes.Buffer
			none := func(string) (string, bool) { return "", false }
			if code := run(ctx, p.cmd, p.common, nil, none, &stderr); code != tt.code {
				t.Errorf("exit code %d, stderr %q, want %d", code, &stderr, tt.code)
			}
		})
	}
}

func TestHelpAndVersionTeach(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"--version"}, []string{"inlay-test", "go1."}},
		{[]string{"--help"}, []string{
			"[$INLAY_HOST_ROOT]", "[$INLAY_NODE_NAME, $NODE_NAME]", "<host-root>/run/inlay", "<kubelet-dir>/pod-resources/kubelet.sock", "discover",
		}},
		{[]string{"discover", "--help"}, []string{"[$INLAY_HOST_ROOT]"}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			p := newProgram(t)
			var stdout bytes.Buffer
			p.cmd.SetOut(&stdout)
			if code, stderr := p.run(tt.args, map[string]string{"INLAY_HOOK_TIMEOUT": "wrong"}); code != 0 || stderr != "" {
				t.Fatalf("exit code %d, stderr %q", code, stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("no %q in:\n%s", want, &stdout)
				}
			}
			if p.ran != "" {
				t.Errorf("%s ran", p.ran)
			}
		})
	}
}

func TestLogFormats(t *testing.T) {
	for _, tt := range []struct{ format, want string }{
		{"text", `msg="region programmed" duration=412.5ms`},
		{"json", `"duration":"412.5ms"`},
	} {
		p := newProgram(t)
		var log bytes.Buffer
		p.common.Log.SetOutput(&log)
		p.body = func(context.Context) error {
			p.common.Log.WithField("duration", (412500 * time.Microsecond).String()).Info("region programmed")
			p.common.Log.Debug("not shown")
			return nil
		}
		if code, stderr := p.run([]string{"--log-format", tt.format}, nil); code != 0 {
			t.Fatal(stderr)
		}
		if got := log.String(); !strings.Contains(got, tt.want) || strings.Contains(got, "not shown") {
			t.Errorf("%s: %q", tt.format, got)
		}
	}
}

func TestAConfigurationFileMovesWhatLiesBelow(t *testing.T) {
	p := newProgram(t)
	p.body = func(context.Context) error {
		fs := p.cmd.Flags()
		return errors.Join(fs.Set("kubelet-dir", "/k"), fs.Set("log-level", "debug"), p.common.Configured())
	}
	if code, stderr := p.run([]string{"--run-dir=/r"}, nil); code != 0 {
		t.Fatal(stderr)
	}
	if got := p.podResource + " " + p.common.RunDir + " " + p.common.Log.Level.String(); got != "/k/pod-resources/kubelet.sock /r debug" {
		t.Error(got)
	}
}

func TestFieldsListEveryFlag(t *testing.T) {
	p := newProgram(t)
	root := t.TempDir()
	p.body = func(context.Context) error {
		fields := p.common.Fields()
		if fields["run-dir"] != root+"/run/inlay" || fields["hook-timeout"] != "1m0s" || fields["own"] != "yes" || fields["help"] != nil {
			t.Errorf("Fields() = %v", fields)
		}
		return nil
	}
	if code, stderr := p.run([]string{"--host-root", root}, nil); code != 0 {
		t.Fatal(stderr)
	}
}

func TestCommandsWithoutTheDaemonsFlagsAreServedToo(t *testing.T) {
	var got string
	cmd := &cobra.Command{Use: "inlay-bare", RunE: func(*cobra.Command, []string) error { return nil }}
	cmd.Flags().StringVar(&got, "what", "", "anything")
	env := func(name string) (string, bool) { return "here", name == "INLAY_WHAT" }
	if code := run(context.Background(), cmd, nil, nil, env, os.Stderr); code != 0 || got != "here" {
		t.Errorf("exit code %d, --what %q", code, got)
	}
}
