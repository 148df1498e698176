package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A kubelet that ends the old stream at each registration must not be registered with for ever.
func TestASocketThatIsPutBackDoesNotMakeRegistrationsWithoutEnd(t *testing.T) {
	root := emulated(t, "dfl", "dfl")
	k := startKubelet(t, root)
	d := start(t, root, "--fpga-mode", "region")
	lists(t, limit, k, region, 2, "dfl-fme.0", "dfl-fme.1")
	for range 3 {
		for _, s := range sockets(t, root) {
			if err := os.Remove(s); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(300 * time.Millisecond)
	}
	// One for the socket and one for the old stream, more where the kubelet's streams begin late; but they come to an
	// end, and where they do not they are never further apart than the engine's longest pause of 3.75 s.
	for end, n := time.Now().Add(limit), 0; ; {
		was := n
		if n = strings.Count(d.Output(), "registered with the kubelet"); n == was {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d registrations, and no end", n)
		}
		time.Sleep(4 * time.Second)
	}
	d.Answers(limit, "/readyz", 200, "ready")
}
