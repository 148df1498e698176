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
	time.Sleep(3 * time.Second)
	if n := strings.Count(d.Output(), "registered with the kubelet"); n > 8 {
		t.Errorf("%d registrations where each of three sockets needs two", n)
	}
	d.Answers(limit, "/readyz", 200, "ready")
}
