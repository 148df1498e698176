package mirror

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/webhook/api/follow"
	"github.com/inlay-project/inlay/webhook/api/follow/followtest"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

type spec = followtest.Object

// follows waits until the file holds exactly these names.
func follows(t *testing.T, file, names string) *policy.Policy {
	t.Helper()
	began := time.Now()
	for {
		p, err := policy.Read(file, 0, time.Now())
		got := ""
		if err == nil {
			got = strings.Join(namesOf(p), " ")
		} else if !errors.Is(err, policy.ErrMissing) {
			t.Fatal(err) // half a file
		}
		if got == names {
			return p
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the file holds %q, want %q", got, names)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestTheFileFollowsAnAPIServerThroughWhateverHappensToIt(t *testing.T) {
	for name, o := range map[string]followtest.Options{
		"a new server":        {Bookmarks: 100 * time.Millisecond},
		"without WatchList":   {NoWatchList: true, PageSize: 2},
		"without selectors":   {NoSelector: true},
		"as old as can be":    {NoWatchList: true, NoSelector: true},
		"without any of ours": {},
	} {
		t.Run(name, func(t *testing.T) {
			s := followtest.Start(t, o)
			if name != "without any of ours" {
				s.Put(v2.KindAcceleratorFunction, "a", "one", spec{"mode": "region", "interfaceId": iface, "afuId": nlb0})
			}
			s.Put(v2.KindAcceleratorFunction, "a", "foreign", spec{"mode": "region", "interfaceId": other, "afuId": nlb0})
			s.Put(v2.KindAcceleratorFunction, "a", "number", spec{"mode": "region", "interfaceId": iface, "afuId": 7})
			s.Put(v2.KindFpgaRegion, "b", "two", spec{"interfaceId": iface})
			m, file := mirrorOf(t, s)
			m.See(true, []fpga.InterfaceID{iface})
			s.Put(v2.KindAcceleratorFunction, "a", "one", spec{"mode": "region", "interfaceId": iface, "afuId": nlb0})
			follows(t, file, "a/one b/two")
			s.Put(v2.KindAcceleratorFunction, "c", "three", spec{"mode": "af", "interfaceId": iface, "afuId": nlb3})
			follows(t, file, "a/one b/two c/three")
			s.Put(v2.KindAcceleratorFunction, "c", "three", spec{"mode": "afoo", "interfaceId": iface, "afuId": nlb3})
			follows(t, file, "a/one b/two")
			s.Put(v2.KindAcceleratorFunction, "a", "one", spec{"mode": "region", "interfaceId": other, "afuId": nlb0})
			follows(t, file, "b/two")
			s.Cut()
			s.Put(v2.KindAcceleratorFunction, "a", "one", spec{"mode": "region", "interfaceId": iface, "afuId": nlb0})
			follows(t, file, "a/one b/two")
			s.SetDown(http.StatusServiceUnavailable)
			s.Delete(v2.KindFpgaRegion, "b", "two")
			s.Compact()
			time.Sleep(100 * time.Millisecond)
			follows(t, file, "a/one b/two")
			s.SetDown(0)
			follows(t, file, "a/one")
			if lines := m.Missing(); len(lines) > 0 {
				t.Errorf("missing: %q", lines)
			}
		})
	}
}

// mirrorOf runs a mirror of a server until the test ends.
func mirrorOf(t *testing.T, s *followtest.Server) (m *Mirror, file string) {
	t.Helper()
	client, err := follow.Client(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	log, _ := test.NewNullLogger()
	file = filepath.Join(t.TempDir(), "policy.json")
	m = New(Config{
		File: file, Observer: &counts{}, Log: log,
		Source: func(kind v2.Kind, iface fpga.InterfaceID) Source {
			return follow.Mappings{Client: client, Kind: kind, Interface: iface, Log: log}
		},
	})
	var running sync.WaitGroup
	ctx := t.Context() // ends before the cleanups
	running.Go(func() { m.Run(ctx) })
	t.Cleanup(running.Wait)
	return m, file
}

func TestAnAPIServerThatRefusesIsNamedAndLeavesTheFileAlone(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	s.SetDown(http.StatusForbidden)
	m, file := mirrorOf(t, s)
	before := []byte(`{"format":1,"synced":"2026-01-02T03:04:05Z","namespaces":{"old":{"fpgaRegions":[{"name":"r","interfaceId":"` + iface + `"}]}}}`)
	if err := os.WriteFile(file, before, 0o600); err != nil {
		t.Fatal(err)
	}
	m.See(true, []fpga.InterfaceID{iface})
	began := time.Now()
	for strings.Count(strings.Join(m.Missing(), "\n"), "the API server is down") < 2 {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("missing: %q", m.Missing())
		}
		time.Sleep(2 * time.Millisecond)
	}
	follows(t, file, "old/r")
	s.SetDown(0)
	follows(t, file, "nothing")
}

func TestManyHandsAtOnceNeverLeaveHalfAFile(t *testing.T) {
	s := followtest.Start(t, followtest.Options{})
	m, file := mirrorOf(t, s)
	m.See(true, []fpga.InterfaceID{iface})
	follows(t, file, "nothing")
	var hands sync.WaitGroup
	for h := range 4 {
		hands.Go(func() {
			for i := range 25 {
				ns, name := fmt.Sprintf("ns%d", h), fmt.Sprintf("m%02d", i)
				s.Put(v2.KindFpgaRegion, ns, name, spec{"interfaceId": iface})
				m.See(i%2 == 0, []fpga.InterfaceID{iface})
				m.Missing()
				if i%3 > 0 {
					s.Delete(v2.KindFpgaRegion, ns, name)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		hands.Wait()
		close(done)
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		if _, err := policy.Read(file, 0, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for h := range 4 {
		for i := 0; i < 25; i += 3 {
			names = append(names, fmt.Sprintf("ns%d/m%02d", h, i))
		}
	}
	follows(t, file, strings.Join(sorted(names), " "))
}
