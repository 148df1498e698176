package nodestate_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/inlay-project/inlay/internal/nodestate"
)

func TestTheStateReadsBackAsItWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run/inlay")
	if _, err := nodestate.Read(dir); !errors.Is(err, nodestate.ErrUnknown) {
		t.Errorf("before anybody wrote it: %v", err)
	}
	for _, want := range []nodestate.State{{Mode: "region", Grant: "nri"}, {Mode: "af", Grant: "allocate"}} {
		if err := nodestate.Write(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := nodestate.Read(dir); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	file := filepath.Join(dir, nodestate.Name)
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := nodestate.Read(dir); err == nil || errors.Is(err, nodestate.ErrUnknown) {
		t.Errorf("a broken file: %v", err)
	}
	if err := nodestate.Write(file, nodestate.State{}); err == nil {
		t.Error("a file as run folder is taken")
	}
}
