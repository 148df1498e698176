package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestADaemonWithoutAHostHasLogAndHTTPAndNoPaths(t *testing.T) {
	var ran string
	newService := func() (*cobra.Command, *Service) {
		cmd := &cobra.Command{Use: "inlay-test", RunE: func(*cobra.Command, []string) error { return nil }}
		serve := &cobra.Command{Use: "serve", RunE: func(*cobra.Command, []string) error { return nil }}
		cmd.AddCommand(serve, &cobra.Command{Use: "once", RunE: func(*cobra.Command, []string) error { ran = "once"; return nil }})
		s := AddService(serve, ":9999")
		return cmd, s
	}
	for _, tt := range []struct {
		name, args string
		env        map[string]string
		code       int
		want       string // of level and address, or in the message
	}{
		{"defaults", "serve", nil, 0, "info :9999"},
		{"flags", "serve --log-level debug --http=", nil, 0, "debug "},
		{"environment", "serve", map[string]string{"INLAY_LOG_LEVEL": "warn", "INLAY_HTTP": ":1"}, 0, "warning :1"},
		{"wrong level", "serve --log-level loud", nil, 2, `--log-level "loud" is none of`},
		{"no path flags", "serve --run-dir /x", nil, 2, "--run-dir"},
		{"a command beside the daemon", "once", nil, 0, "info :9999"},
		{"has none of its flags", "once --http=:1", nil, 2, "--http"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd, s := newService()
			var stderr bytes.Buffer
			env := func(name string) (string, bool) { v, ok := tt.env[name]; return v, ok }
			code := run(context.Background(), cmd, s, strings.Fields(tt.args), env, &stderr)
			if code != tt.code {
				t.Fatalf("exit code %d, stderr %q", code, &stderr)
			}
			if code != 0 && !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("stderr %q, want %q", &stderr, tt.want)
			}
			if got := s.Log.Level.String() + " " + s.HTTP; code == 0 && got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if ran != "once" {
		t.Error("the command beside the daemon did not run")
	}
}
