package cli

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/inlay-project/inlay/internal/childtest"
)

// TestMain lets the test binary play a daemon that is sent signals: a clean one, or one whose shutdown hangs.
func TestMain(m *testing.M) {
	kind := childtest.Role()
	if kind == "" {
		os.Exit(m.Run())
	}
	os.Exit(Main(&cobra.Command{Use: "inlay-test", RunE: func(cmd *cobra.Command, _ []string) error {
		fmt.Println("ready")
		<-cmd.Context().Done()
		fmt.Println("stopping")
		if kind == "hang" {
			time.Sleep(time.Minute)
		}
		return cmd.Context().Err()
	}}, nil))
}

func TestSignalsStopAProcessCleanlyAndASecondOneAtOnce(t *testing.T) {
	for _, tt := range []struct {
		kind   string
		signal syscall.Signal
		again  bool
		want   string
	}{
		{"clean", syscall.SIGTERM, false, "exit status 0"},
		{"clean", syscall.SIGINT, false, "exit status 0"},
		{"clean", syscall.SIGHUP, false, "exit status 0"},
		{"hang", syscall.SIGTERM, true, "signal: terminated"},
	} {
		t.Run(fmt.Sprint(tt.kind, " ", tt.signal), func(t *testing.T) {
			if signal.Ignored(tt.signal) {
				t.Skip("SKIPPED: it is ignored here (nohup), and what is started here ignores it too")
			}
			child := childtest.Command(tt.kind)
			stdout, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			defer child.Process.Kill() // it has ended, unless the test failed
			lines := bufio.NewScanner(stdout)
			for _, want := range []string{"ready", "stopping"} {
				if !lines.Scan() || lines.Text() != want {
					t.Fatalf("child says %q, want %q", lines.Text(), want)
				}
				if want == "ready" || tt.again {
					if err := child.Process.Signal(tt.signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tt.again { // the first signal's hold is given back just after it: a few tries may be needed
				for range 50 {
					time.Sleep(10 * time.Millisecond)
					_ = child.Process.Signal(tt.signal)
				}
			}
			_ = child.Wait() // the state says more
			if got := child.ProcessState.String(); got != tt.want {
				t.Errorf("child: %s, want %s", got, tt.want)
			}
		})
	}
}
