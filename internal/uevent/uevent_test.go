package uevent

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		msg  string
		want Event
		err  error
	}{
		"driver bound": {
			msg: "add@/devices/pci0000:3a/0000:3b:00.0/fpga_region/region0/dfl-port.0\x00ACTION=add\x00DEVPATH=/devices/x\x00" +
				"SUBSYSTEM=platform\x00DEVNAME=dfl-port.0\x00SEQNUM=4711\x00",
			want: Event{"add", "/devices/pci0000:3a/0000:3b:00.0/fpga_region/region0/dfl-port.0", "platform", "dfl-port.0"},
		},
		"no subsystem":      {msg: "remove@/module/dfl\x00ACTION=remove\x00", want: Event{Action: "remove", DevPath: "/module/dfl"}},
		"value without key": {msg: "add@/x\x00SUBSYSTEM\x00=\x00", want: Event{Action: "add", DevPath: "/x"}},
		"of udev":           {msg: "libudev\x00\xfe\xed\xca\xfe", err: ErrMalformed},
		"no end":            {msg: "add@/x", err: ErrMalformed},
		"no path":           {msg: "add@\x00", err: ErrMalformed},
		"empty":             {err: ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(tc.msg))
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00ACTION=add\x00SUBSYSTEM=dfl\x00"))
	f.Add([]byte("libudev\x00\xfe\xed"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		e, err := Parse(msg)
		if err == nil && (e.Action == "" || e.DevPath == "") {
			t.Errorf("%q accepted as %+v", msg, e)
		}
	})
}

func TestReceiveHearsTheKernelAndEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	c, err := Open()
	if err != nil {
		t.Skipf("no uevent socket here: %v", err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	events := make(chan Event)
	done := make(chan error, 1)
	go func() {
		for {
			e, err := c.Receive(ctx)
			if err != nil {
				done <- err
				return
			}
			events <- e
		}
	}()
	heard := os.WriteFile("/sys/class/mem/null/uevent", []byte("change"), 0) == nil
	for heard {
		select {
		case e := <-events:
			if e.Subsystem == "mem" && e.Action == "change" && e.DevName == "null" {
				heard = false
			}
		case <-ctx.Done():
			t.Skip("this network namespace hears no uevents")
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Receive ended with %v", err)
	}
}
