package fpga

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/fpga"
)

// No ordinary file reads as EBUSY, so this is one floor below the other tests.
func TestAPortThatIsBeingProgrammedIsUnhealthyAsWhatItWas(t *testing.T) {
	const was = "fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
	fme := &fpga.FME{Name: "dfl-fme.0", PCI: fpga.PCI{Address: "0000:3b:00.0"}, Interface: "69528db6eb31577a8c3668f9faa081f6"}
	port := &fpga.Port{Name: "dfl-port.0", AFUErr: fmt.Errorf("read afu_id: %w", unix.EBUSY)}
	u := portUnit(fme, port)
	if u.resource != "" || u.sick != "it is being programmed" {
		t.Fatalf("unit %+v", u)
	}
	s := &scan{mode: ModeAF, memory: memory{u.key: {was, true}}, inv: plugin.Inventory{}, offered: memory{}}
	u.dirs = nil
	s.offer(u)
	if d := s.inv[was]; len(d) != 1 || d[0].Health != plugin.Unhealthy || d[0].Reason != u.sick || s.offered[u.key] != (offered{was, true}) {
		t.Errorf("offered %+v, remembered %v", s.inv, s.offered)
	}
}
