package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Without a record hooks choose one after another. One that hangs meanwhile is named as the reason.
func TestAHookThatIsChoosingIsWaitedForAndSaid(t *testing.T) {
	l := newLive(t, "dfl")
	l.put(nlb3)
	other, err := os.OpenFile(l.path("run/inlay/lock-choice"), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctr := container{env: asks(nlb3), devices: []device{port(0)}}
	run := func(timeout string) string {
		out, _ := l.command(ctr.state(t), `exec "$hook" --timeout `+timeout).CombinedOutput()
		return string(out)
	}
	want(t, run("1s"), "another hook is choosing ports: gave up after 1s")
	l.wantPRs(map[string]int{})
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, run("20s"), "")
	l.wantPRs(map[string]int{"dfl-port.0": 1})
}
