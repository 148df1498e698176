package gpu

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
)

// Values of the options that have names.
const (
	MonitoringSingle = "single" // one resource "monitoring"
	MonitoringSplit  = "split"  // one for each driver: "xe_monitoring"

	PolicyNone     = "none"     // a card for each device as far as there are cards
	PolicyBalanced = "balanced" // the card with the most free shares
	PolicyPacked   = "packed"   // as few cards as can be, near one another

	ByPathSingle = "single" // the links of the cards that the container gets
	ByPathNone   = "none"
	ByPathAll    = "all" // the whole folder

	// Severities of xpumd from which on a card is unhealthy.
	SeverityWarning  = "warning"
	SeverityCritical = "critical"
	SeverityFailed   = "failed"
)

// Options are what a user can set; the zero value is not valid, DefaultOptions is.
type Options struct {
	EnableMonitoring bool     `json:"enableMonitoring"`
	MonitoringMode   string   `json:"monitoringMode"`
	SharedDevNum     int      `json:"sharedDevNum"`
	AllocationPolicy string   `json:"allocationPolicy"`
	AllowIDs         string   `json:"allowIds"` // comma list
	DenyIDs          string   `json:"denyIds"`  // comma list
	ByPath           string   `json:"bypath"`
	HealthManagement bool     `json:"healthManagement"`
	LevelZeroSocket  string   `json:"levelzeroSocket"` // as this process sees it
	XPUMDEndpoint    string   `json:"xpumdEndpoint"`   // as this process sees it
	XPUMDSeverity    string   `json:"xpumdUnhealthySeverity"`
	TempLimit        int      `json:"tempLimit"`       // degrees Celsius
	GPUTempLimit     int      `json:"gpuTempLimit"`    // degrees Celsius
	MemoryTempLimit  int      `json:"memoryTempLimit"` // degrees Celsius
	HealthPeriod     Duration `json:"healthPeriod"`
	HealthGrace      Duration `json:"healthGrace"`
	WSL              bool     `json:"wsl"`
	// CDI is by which way containers get cards: with On by CDI name. Empty is Auto. It is the process' setting.
	CDI cdi.Mode `json:"-"`
}

// tempLimit is the default of all temperature limits.
const tempLimit = 100

// maxShares bounds the shares of a card: the kubelet takes lists of 4 MiB, which is some 50,000 devices.
const maxShares = 10000

// DefaultOptions are the reference's.
func DefaultOptions() Options {
	return Options{
		MonitoringMode: MonitoringSingle, SharedDevNum: 1, AllocationPolicy: PolicyNone, ByPath: ByPathSingle,
		LevelZeroSocket: "/var/lib/levelzero/server.sock",
		XPUMDSeverity:   SeverityWarning,
		TempLimit:       tempLimit, GPUTempLimit: tempLimit, MemoryTempLimit: tempLimit,
		HealthPeriod: Duration(5 * time.Second), HealthGrace: Duration(time.Minute),
	}
}

// AddFlags defines the family's flags; o's present values are the defaults and what is parsed is written to o.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.EnableMonitoring, "gpu-enable-monitoring", o.EnableMonitoring, "offer all GPUs together to an observer, as gpu.intel.com/monitoring")
	f.StringVar(&o.MonitoringMode, "gpu-monitoring-mode", o.MonitoringMode, "single, or split: a monitoring resource for each driver")
	f.IntVar(&o.SharedDevNum, "gpu-shared-dev-num", o.SharedDevNum, "how many containers may share a GPU")
	f.StringVar(&o.AllocationPolicy, "gpu-allocation-policy", o.AllocationPolicy, "which GPUs go together: none, balanced or packed")
	f.StringVar(&o.AllowIDs, "gpu-allow-ids", o.AllowIDs, "only GPUs with these PCI device ids, comma list: 0x56c0,0x56c1")
	f.StringVar(&o.DenyIDs, "gpu-deny-ids", o.DenyIDs, "no GPUs with these PCI device ids, comma list")
	f.StringVar(&o.ByPath, "gpu-bypath", o.ByPath, "links in /dev/dri/by-path that a container gets: single (of its GPUs), none or all")
	f.BoolVar(&o.HealthManagement, "gpu-health-management", o.HealthManagement, "ask the Level-Zero service for the health of GPUs")
	f.StringVar(&o.LevelZeroSocket, "gpu-levelzero-socket", o.LevelZeroSocket, "socket of the Level-Zero service")
	f.StringVar(&o.XPUMDEndpoint, "gpu-xpumd-endpoint", o.XPUMDEndpoint, "socket of xpumd, to follow the health of GPUs by; empty = it is not followed")
	f.StringVar(&o.XPUMDSeverity, "gpu-xpumd-unhealthy-severity", o.XPUMDSeverity, "xpumd's severity from which on a GPU is unhealthy: warning, critical or failed")
	f.IntVar(&o.TempLimit, "gpu-temp-limit", o.TempLimit, "°C above which a GPU is unhealthy (Level-Zero service)")
	f.IntVar(&o.GPUTempLimit, "gpu-gpu-temp-limit", o.GPUTempLimit, "the same, for the sensor of the GPU itself")
	f.IntVar(&o.MemoryTempLimit, "gpu-memory-temp-limit", o.MemoryTempLimit, "the same, for that of its memory")
	f.DurationVar((*time.Duration)(&o.HealthPeriod), "gpu-health-period", time.Duration(o.HealthPeriod), "how often the Level-Zero service is asked")
	f.DurationVar((*time.Duration)(&o.HealthGrace), "gpu-health-grace", time.Duration(o.HealthGrace), "how long a GPU without health data is believed to be as it was")
	f.BoolVar(&o.WSL, "gpu-wsl", o.WSL, "offer the GPUs of Windows, as gpu.intel.com/dxg (in a WSL guest)")
}

// Validate gives one error that names the flag and what is allowed.
func (o Options) Validate() error {
	if o.SharedDevNum < 1 || o.SharedDevNum > maxShares {
		return fmt.Errorf("gpu-shared-dev-num: %d is not in 1-%d", o.SharedDevNum, maxShares)
	}
	for _, c := range []struct {
		flag, value string
		allowed     []string
	}{
		{"gpu-monitoring-mode", o.MonitoringMode, []string{MonitoringSingle, MonitoringSplit}},
		{"gpu-allocation-policy", o.AllocationPolicy, []string{PolicyNone, PolicyBalanced, PolicyPacked}},
		{"gpu-bypath", o.ByPath, []string{ByPathSingle, ByPathNone, ByPathAll}},
		{"gpu-xpumd-unhealthy-severity", o.XPUMDSeverity, []string{SeverityWarning, SeverityCritical, SeverityFailed}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return fmt.Errorf("%s: %.40q is none of %s", c.flag, c.value, strings.Join(c.allowed, ", "))
		}
	}
	if _, err := parseIDs(o.AllowIDs); err != nil {
		return fmt.Errorf("gpu-allow-ids: %w", err)
	}
	if _, err := parseIDs(o.DenyIDs); err != nil {
		return fmt.Errorf("gpu-deny-ids: %w", err)
	}
	if o.AllowIDs != "" && o.DenyIDs != "" {
		return errors.New("gpu-allow-ids and gpu-deny-ids exclude one another")
	}
	return o.validateHealth()
}

func (o Options) validateHealth() error {
	limits := o.TempLimit != tempLimit || o.GPUTempLimit != tempLimit || o.MemoryTempLimit != tempLimit
	switch {
	case o.WSL && o.EnableMonitoring:
		return errors.New("gpu-wsl and gpu-enable-monitoring exclude one another")
	case o.WSL && o.HealthManagement:
		return errors.New("gpu-wsl and gpu-health-management exclude one another")
	case o.WSL && o.XPUMDEndpoint != "":
		return errors.New("gpu-wsl and gpu-xpumd-endpoint exclude one another")
	case o.HealthManagement && o.XPUMDEndpoint != "":
		return errors.New("gpu-health-management and gpu-xpumd-endpoint exclude one another")
	case o.XPUMDEndpoint != "" && limits:
		return errors.New("gpu-xpumd-endpoint excludes gpu-temp-limit, gpu-gpu-temp-limit and gpu-memory-temp-limit: xpumd has limits of its own")
	case o.XPUMDEndpoint != "" && !filepath.IsAbs(o.XPUMDEndpoint):
		return fmt.Errorf("gpu-xpumd-endpoint: %.80q is not an absolute path of a unix socket", o.XPUMDEndpoint)
	case !filepath.IsAbs(o.LevelZeroSocket):
		return fmt.Errorf("gpu-levelzero-socket: %.80q is not an absolute path of a unix socket", o.LevelZeroSocket)
	case o.HealthPeriod < Duration(100*time.Millisecond):
		return fmt.Errorf("gpu-health-period: %s is less than 100ms", time.Duration(o.HealthPeriod))
	case o.HealthGrace < o.HealthPeriod:
		return fmt.Errorf("gpu-health-grace: %s is less than gpu-health-period", time.Duration(o.HealthGrace))
	}
	return nil
}

// Duration is a time.Duration that is text in a configuration file: "1m30s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// parseIDs reads a comma list of PCI device ids, each 0x and four lower-case hexadecimal digits. Empty is none.
func parseIDs(list string) (ids []string, err error) {
	if list == "" {
		return nil, nil
	}
	for id := range strings.SplitSeq(list, ",") {
		if id = strings.TrimSpace(id); !isDeviceID(id) {
			return nil, fmt.Errorf("%.40q is not 0x and four lower-case hexadecimal digits", id)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func isDeviceID(s string) bool {
	return len(s) == len("0x56c0") && s[:2] == "0x" && strings.Trim(s[2:], "0123456789abcdef") == ""
}
