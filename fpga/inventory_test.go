package fpga_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
)

func TestAPortIsFoundByName(t *testing.T) {
	fme := fpga.FME{Ports: []fpga.Port{{Name: "dfl-port.0"}, {Name: "dfl-port.10", ID: 1}}}
	if p, ok := fme.Port("dfl-port.10"); !ok || p.ID != 1 || p != &fme.Ports[1] {
		t.Errorf("dfl-port.10: %+v, %v", p, ok)
	}
	if p, ok := fme.Port("dfl-port.1"); ok || p != nil {
		t.Errorf("dfl-port.1: %+v, %v", p, ok)
	}
}

func TestAPRErrorTellsWhatTheCardSaid(t *testing.T) {
	for want, e := range map[string]fpga.PRError{
		"partial reconfiguration: input/output error":                                    {Err: unix.EIO},
		"partial reconfiguration: input/output error (CRC error, timeout)":               {Err: unix.EIO, Status: []string{"CRC error", "timeout"}},
		"partial reconfiguration: input/output error (FPGA manager: reconfig CRC error)": {Err: unix.EIO, Manager: "reconfig CRC error"},
		"partial reconfiguration: bad address":                                           {Err: unix.EFAULT},
		"partial reconfiguration: input/output error (timeout) (FPGA manager: x)":        {Err: unix.EIO, Status: []string{"timeout"}, Manager: "x"},
	} {
		if e.Error() != want || !errors.Is(&e, e.Err) {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}
