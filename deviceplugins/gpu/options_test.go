package gpu

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// The reference's defaults and flags, under the family's name (spec section 4.1).
func TestFlagsAndDefaultsOfTheReference(t *testing.T) {
	want := map[string]string{
		"gpu-enable-monitoring": "false", "gpu-monitoring-mode": "single", "gpu-shared-dev-num": "1", "gpu-allocation-policy": "none",
		"gpu-allow-ids": "", "gpu-deny-ids": "", "gpu-bypath": "single", "gpu-health-management": "false",
		"gpu-levelzero-socket": "/var/lib/levelzero/server.sock", "gpu-xpumd-endpoint": "", "gpu-xpumd-unhealthy-severity": "warning", "gpu-temp-limit": "100",
		"gpu-gpu-temp-limit": "100", "gpu-memory-temp-limit": "100", "gpu-wsl": "false",
		"gpu-health-period": "5s", "gpu-health-grace": "1m0s",
	}
	o := DefaultOptions()
	if err := o.Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
	set := pflag.NewFlagSet("gpu", pflag.ContinueOnError)
	o.AddFlags(set)
	got := map[string]string{}
	set.VisitAll(func(f *pflag.Flag) {
		got[f.Name] = f.DefValue
		if f.Usage == "" {
			t.Errorf("--%s has no word of help", f.Name)
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for flags, want := range map[string]string{
		"--gpu-shared-dev-num=0":                            "gpu-shared-dev-num: 0 is not in 1-10000",
		"--gpu-shared-dev-num=10001":                        "gpu-shared-dev-num",
		"--gpu-monitoring-mode=both":                        `gpu-monitoring-mode: "both" is none of single, split`,
		"--gpu-allocation-policy=":                          `gpu-allocation-policy: "" is none of none, balanced, packed`,
		"--gpu-bypath=some":                                 `gpu-bypath: "some" is none of single, none, all`, // G2
		"--gpu-allow-ids=0x56C0":                            `gpu-allow-ids: "0x56C0" is not 0x and four`,
		"--gpu-allow-ids=0x56c0,":                           `gpu-allow-ids: "" is not`,
		"--gpu-deny-ids=56c0":                               "gpu-deny-ids",
		"--gpu-deny-ids=0x56c01":                            "gpu-deny-ids",
		"--gpu-allow-ids=0x1111 --gpu-deny-ids=0x1112":      "exclude one another",
		"--gpu-health-management --gpu-xpumd-endpoint=/x":   "exclude one another",
		"--gpu-xpumd-endpoint=/x --gpu-temp-limit=99":       "gpu-xpumd-endpoint excludes gpu-temp-limit",
		"--gpu-xpumd-endpoint=/x --gpu-gpu-temp-limit=99":   "gpu-xpumd-endpoint excludes",
		"--gpu-xpumd-endpoint=/x --gpu-memory-temp-limit=9": "gpu-xpumd-endpoint excludes",
		"--gpu-xpumd-endpoint=x.sock":                       "gpu-xpumd-endpoint: \"x.sock\" is not an absolute path",
		"--gpu-xpumd-unhealthy-severity=ok":                 `gpu-xpumd-unhealthy-severity: "ok" is none of warning, critical, failed`,
		"--gpu-levelzero-socket=":                           "gpu-levelzero-socket",
		"--gpu-wsl --gpu-enable-monitoring":                 "gpu-wsl and gpu-enable-monitoring",
		"--gpu-wsl --gpu-health-management":                 "gpu-wsl and gpu-health-management",
		"--gpu-wsl --gpu-xpumd-endpoint=/x":                 "gpu-wsl and gpu-xpumd-endpoint",
		"--gpu-health-period=1ms":                           "gpu-health-period",
		"--gpu-health-grace=1s":                             "gpu-health-grace",
	} {
		o := DefaultOptions()
		set := pflag.NewFlagSet("gpu", pflag.ContinueOnError)
		o.AddFlags(set)
		if err := set.Parse(strings.Fields(flags)); err != nil {
			t.Fatalf("%s: %v", flags, err)
		}
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", flags, err, want)
		}
	}
	for _, flags := range []string{
		"--gpu-allow-ids=0x56c0,0x4905", "--gpu-temp-limit=80 --gpu-health-management", "--gpu-xpumd-endpoint=/run/xpumd/intelxpuinfo.sock --gpu-enable-monitoring",
		"--gpu-xpumd-unhealthy-severity=critical", "--gpu-xpumd-unhealthy-severity=failed",
		"--gpu-allow-ids=0x56c0,\t0x4905",
	} {
		parse(t, strings.Split(flags, " ")...)
	}
}

// G10: health, xpumd, WSL and the temperature limits could be set by hand only. Whatever a flag sets, the configuration
// file sets as well, under the flag's name without the family's.
func TestEveryFlagIsInTheConfigurationFile_G10(t *testing.T) {
	o := DefaultOptions()
	set := pflag.NewFlagSet("gpu", pflag.ContinueOnError)
	o.AddFlags(set)
	flags := map[string]bool{}
	set.VisitAll(func(f *pflag.Flag) {
		flags[strings.ReplaceAll(strings.TrimPrefix(f.Name, "gpu-"), "-", "")] = true
	})
	for field := range reflect.TypeFor[Options]().Fields() {
		name := strings.ToLower(field.Tag.Get("json"))
		if name == "-" {
			continue // the process' setting
		}
		if !flags[name] {
			t.Errorf("%s has no flag", field.Name)
		}
		delete(flags, name)
	}
	if len(flags) > 0 {
		t.Errorf("not in the file: %v", flags)
	}

	o = DefaultOptions()
	if err := yaml.UnmarshalStrict([]byte("xpumdEndpoint: /run/x.sock\nwsl: true\ngpuTempLimit: 90\nhealthGrace: 1m30s\n"), &o); err != nil {
		t.Fatal(err)
	}
	want := DefaultOptions()
	want.XPUMDEndpoint, want.WSL, want.GPUTempLimit, want.HealthGrace = "/run/x.sock", true, 90, Duration(90*time.Second)
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text, err := json.Marshal(o)
	if err != nil || !strings.Contains(string(text), `"healthGrace":"1m30s"`) {
		t.Errorf("%s, %v", text, err)
	}
	if err := yaml.UnmarshalStrict([]byte("healthGrace: soon\n"), &o); err == nil {
		t.Error("any text is a duration")
	}
}

// G9: an observer has one resource, of whatever drivers the cards are, unless the mode is another.
func TestTheObserversResource_G9(t *testing.T) {
	root, _ := golden(t, "i915-and-xe")
	for flags, want := range map[string][]string{
		"":                        nil,
		"--gpu-enable-monitoring": {"gpu.intel.com/monitoring"},
		"--gpu-enable-monitoring --gpu-monitoring-mode=split": {"gpu.intel.com/i915_monitoring", "gpu.intel.com/xe_monitoring"},
	} {
		var got []string
		for _, d := range familytest.Devices(scan(t, family(t, root, parse(t, strings.Fields(flags)...)))) {
			if d.ID == "all" {
				got = append(got, d.Resource)
				if d.Health != plugin.Healthy {
					t.Errorf("%s is %s", d.Resource, d.Health)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", flags, diff)
		}
	}
}
