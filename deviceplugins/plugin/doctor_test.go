package plugin_test

import (
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

func TestEachReasonHasItsRemedy(t *testing.T) {
	const asRoot, trigger = "run inlay-deviceplugin as root", "udevadm trigger --subsystem-match=drm, and see"
	for _, tt := range []struct{ reason, want, without string }{
		{(&fs.PathError{Op: "open", Path: "/sys/x", Err: unix.EACCES}).Error(), asRoot, asRoot},
		{"its state cannot be read: " + unix.EPERM.Error(), asRoot, asRoot},
		{"node /dev/dri/card0: " + unix.EACCES.Error(), asRoot, asRoot},
		{"none of its nodes is in /dev/dri", trigger, ""},
		{"its node /dev/dlb0 is missing", trigger, ""},
		{"node /dev/dri/card0 is 1:3, sysfs says 226:0", trigger, ""},
		{"/dev/dri/card1 is not a character device", "take away what is in the place of the node, then: udevadm trigger --subsystem-match=drm", ""},
		{"open /sys/x/numa_node: no such file or directory", "look again", ""},
	} {
		if got := plugin.Remedy(tt.reason, "drm"); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.reason, got, tt.want)
		}
		if got := plugin.Remedy(tt.reason, ""); (got == "") != (tt.without == "") || !strings.HasPrefix(got, tt.without) {
			t.Errorf("%s: without a subsystem %q, want %q", tt.reason, got, tt.without)
		}
	}
}
