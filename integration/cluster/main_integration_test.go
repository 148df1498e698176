//go:build integration

package cluster

import (
	"os"
	"testing"
)

var kit Kit

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }

// long is for what another test shows too, on another runtime or with another overlay: .ci/run leaves it out where its
// time does not suffice, and says so.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("with -short only one of its kind is run")
	}
}
