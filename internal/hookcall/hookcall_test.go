package hookcall_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/hookcall"
	"github.com/inlay-project/inlay/internal/hostfs"
)

func TestACallIsWrittenAsTheHostHasIt(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/opt/own", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/opt/own/hook", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		f       hookcall.Flags
		c       cli.Common
		max     int64
		root    string // in which the program is found
		path    string
		args    []string
		wantErr string
	}{
		{"the standard", hookcall.Flags{Path: dir + "/opt/inlay/bin/inlay-hook"}, cli.Common{}, 0, dir, "/opt/inlay/bin/inlay-hook", nil, ""},
		{"the standard limit", hookcall.Flags{Path: dir + "/h"}, cli.Common{}, hookcall.StandardMaxBitstream, dir, "/h", nil, ""},
		{
			"all of it",
			hookcall.Flags{Path: dir + "/h"},
			cli.Common{Bitstreams: dir + "/data", RunDir: dir + "/run/x"},
			7, dir, "/h",
			[]string{"--bitstreams", "/data", "--run-dir", "/run/x", "--max-bitstream", "7"},
			"",
		},
		{"the host's own path", hookcall.Flags{Path: "/opt/own/hook"}, cli.Common{}, 0, dir, "/opt/own/hook", nil, ""},
		{
			"a tree that stands apart",
			hookcall.Flags{Path: dir + "/opt/own/not-yet", HostRoot: dir},
			cli.Common{Bitstreams: dir + "/data"},
			0,
			"/", dir + "/opt/own/not-yet",
			[]string{"--host-root", dir, "--bitstreams", dir + "/data"},
			"",
		},
		{"relative", hookcall.Flags{Path: "hook"}, cli.Common{}, 0, "", "", nil, "--hook-path hook is not absolute"},
		{"outside", hookcall.Flags{Path: "/nonexistent/hook"}, cli.Common{}, 0, "", "", nil, "--hook-path: /nonexistent/hook is outside the host root"},
		{"store outside", hookcall.Flags{Path: dir + "/h"}, cli.Common{Bitstreams: "/nonexistent"}, 0, "", "", nil, "--bitstreams: /nonexistent is outside"},
		{"too short", hookcall.Flags{Path: dir + "/h", Timeout: time.Second}, cli.Common{}, 0, "", "", nil, "--hook-timeout 1s is shorter than 2 s"},
		{"as long as the kubelet waits", hookcall.Flags{Path: dir + "/h", Timeout: 2 * time.Minute}, cli.Common{}, 0, "", "", nil, "--hook-timeout 2m0s is not below 2 min"},
		{"just below", hookcall.Flags{Path: dir + "/h", Timeout: 119 * time.Second}, cli.Common{}, 0, dir, "/h", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, err := hostfs.New(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			tt.c.Root = root
			for _, p := range []struct {
				value    *string
				standard string
			}{{&tt.c.Bitstreams, "srv/intel.com/fpga"}, {&tt.c.RunDir, "run/inlay"}} {
				if *p.value == "" {
					*p.value = filepath.Join(dir, p.standard)
				}
			}
			if tt.f.Timeout == 0 {
				tt.f.Timeout = time.Minute
			}
			call, err := tt.f.New(&tt.c, tt.max)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("%v, want %s", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.args, call.Args); diff != "" || call.Path != tt.path || call.Root.Dir() != tt.root {
				t.Errorf("%s in %s, want %s in %s; arguments (-want +got):\n%s", call.Path, call.Root.Dir(), tt.path, tt.root, diff)
			}
		})
	}
}
