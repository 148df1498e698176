package plugin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/unixsock"
)

func TestSocketNames(t *testing.T) {
	const (
		usual  = "/var/lib/kubelet/device-plugins"
		long   = "/var/snap/microk8s/common/var/lib/kubelet/device-plugins"
		af     = "fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
		region = "fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6"
	)
	for _, tc := range []struct {
		folder, resource, want string
		tooLong                bool
	}{
		{usual, region, "fpga.intel.com-region-69528db6eb31577a8c3668f9faa081f6.sock", false},
		{usual, af, "fpga.intel.com-af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs.sock", false},
		{long, region, "", false},
		{long, af, "", false},
		{"/" + strings.Repeat("x", 100), af, "", true},
	} {
		got, err := socketName(tc.folder, tc.resource)
		if (err != nil) != tc.tooLong {
			t.Errorf("%s in %s: %v", tc.resource, tc.folder, err)
		}
		if tc.tooLong && !strings.Contains(err.Error(), "bytes, a unix socket address holds 107: the kubelet cannot dial it") {
			t.Errorf("%s in %s: %v", tc.resource, tc.folder, err)
		}
		if tc.want != "" && got != tc.want {
			t.Errorf("%s in %s: %s", tc.resource, tc.folder, got)
		}
		if n := len(tc.folder) + 1 + len(got); n > unixsock.MaxPath && !tc.tooLong {
			t.Errorf("%s in %s: %d bytes", got, tc.folder, n)
		}
		if other, _ := socketName(tc.folder, tc.resource[:len(tc.resource)-1]+"x"); other == got {
			t.Errorf("two resources have the socket %s", got)
		}
	}
}

func TestResourceNames(t *testing.T) {
	for name, good := range map[string]bool{
		"fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6":            true,
		"fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP": true,
		"qat.intel.com/asym-sym-dc":                                         true,
		"sgx.intel.com/A_b":                                                 true,
		"fpga.intel.com/region-":                                            false, // an FME without interface id: the old crash
		"fpga.intel.com/":                                                   false,
		"fpga.intel.com":                                                    false,
		"/region":                                                           false,
		"FPGA.intel.com/x":                                                  false,
		"fpga..com/x":                                                       false,
		"kubernetes.io/x":                                                   false,
		"a.kubernetes.io/x":                                                 false,
		"requests.a/x":                                                      false,
		"a/b/c":                                                             false,
		"a/" + strings.Repeat("b", 64):                                      false,
		strings.Repeat("a", 250) + "/b":                                     false,
	} {
		if err := checkResourceName(name); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBackoffGrowsToItsMost(t *testing.T) {
	var b backoff
	first := b.next()
	if first < backoffFirst/2 || first > 2*backoffFirst {
		t.Errorf("first wait %v", first)
	}
	for range 20 {
		if w := b.next(); w > backoffMost*5/4 {
			t.Errorf("wait %v", w)
		}
	}
	if w := b.next(); w < backoffMost*3/4 {
		t.Errorf("late wait %v", w)
	}
	b.reset()
	if w := b.next(); w > 2*backoffFirst {
		t.Errorf("wait after reset %v", w)
	}
}

func TestLeftOverStreamsAreBounded(t *testing.T) {
	ended := 0
	s := &streams{ended: func(time.Duration, bool) { ended++ }}
	var contexts []context.Context
	var leave []func()
	for i := range maxStreams + 3 {
		s.registering(unixsock.Identity{Ino: uint64(i)})
		ctx, left := s.enter(context.Background())
		contexts, leave = append(contexts, ctx), append(leave, left)
	}
	for i, ctx := range contexts {
		if gone := ctx.Err() != nil; gone != (i < 3) {
			t.Errorf("stream %d of %d ended: %t", i, len(contexts), gone)
		}
	}
	for i := range leave[:len(leave)-1] {
		leave[i]()
	}
	if ended != 0 {
		t.Errorf("streams of kubelets that are gone, or ended by us, count as %d ends", ended)
	}
	if leave[len(leave)-1](); ended != 1 {
		t.Errorf("the present kubelet's stream counts as %d ends", ended)
	}
}

func TestFeedKeepsTheListWhenOnlyGrantsChange(t *testing.T) {
	now := time.Now()
	f := newFeed(newSnapshot([]Device{{ID: "a", Health: Healthy}}, now))
	signal, end := f.subscribe()
	defer end()
	list := f.load().list
	f.store(newSnapshot([]Device{{ID: "a", Health: Healthy, Grant: Grant{CDI: []string{"x/y=z"}}}}, now))
	if _, fresh := f.next(list); fresh || len(signal) != 0 {
		t.Error("a list that looks the same is sent again")
	}
	if d, _ := f.load().find("a"); len(d.Grant.CDI) != 1 {
		t.Error("the new grant is not in force")
	}
	f.store(newSnapshot(nil, now))
	f.store(newSnapshot([]Device{{ID: "b", Health: Healthy}}, now))
	if len(signal) != 1 {
		t.Error("two changes are not one signal")
	}
}

func TestFingerprintIsNotFooledByTheSeamsBetweenValues(t *testing.T) {
	dir := t.TempDir()
	buf := make([]byte, valueBytes)
	a := fingerprint(newValues([]string{dir, dir + "/missing"}), buf)
	if b := fingerprint(newValues([]string{dir, dir + "/missing"}), buf); a != b {
		t.Error("the same values give two fingerprints")
	}
	if b := fingerprint(newValues([]string{dir + "/missing", dir}), buf); a == b {
		t.Error("the order of errors does not count")
	}
}

func TestAFamilyWithoutDevicesIsWatchedCloselyForAWhile(t *testing.T) {
	for name, tt := range map[string]struct {
		state  FamilyStatus
		lately time.Duration
		want   bool
	}{
		"just begun, or just gone": {lately: alert - time.Minute, want: true},
		"for long":                 {lately: alert},
		"with devices":             {state: FamilyStatus{Devices: 1}, lately: alert, want: true},
		"that cannot look":         {state: FamilyStatus{Err: errors.New("no sysfs")}, lately: alert, want: true},
	} {
		s := &scanner{state: tt.state, lately: time.Now().Add(-tt.lately)}
		if s.active() != tt.want {
			t.Errorf("%s: active %t", name, !tt.want)
		}
	}
}

// plain is a family without any optional ability.
type plain struct{}

func (plain) Name() string { return "plain" }

func (plain) Scan(context.Context) (Inventory, []Skipped, error) { return nil, nil, nil }

func TestWhatAFamilyCannotDoIsUnimplemented(t *testing.T) {
	s := &service{resource: "x.y/z", family: plain{}}
	_, preference := s.GetPreferredAllocation(t.Context(), &v1beta1.PreferredAllocationRequest{})
	_, start := s.PreStartContainer(t.Context(), &v1beta1.PreStartContainerRequest{})
	for _, err := range []error{preference, start} {
		if status.Code(err) != codes.Unimplemented || !strings.HasPrefix(status.Convert(err).Message(), "x.y/z: ") {
			t.Errorf("error %v", err)
		}
	}
}
