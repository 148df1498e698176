package sgx

import (
	"errors"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

func TestANodeWithAnotherNumberThanSysfsSaysIsLeftOut(t *testing.T) {
	const tree = `-- dev/sgx_enclave --
c 10:125
-- dev/sgx_provision --
c 10:126
-- sys/class/misc/sgx_enclave/dev --
10:125
-- sys/class/misc/sgx_provision/dev --
`
	for number, offered := range map[string]bool{"10:126": true, "10:127": false, "junk": false} {
		dir := t.TempDir()
		if err := hostfstest.Extract(dir, []byte(tree+number+"\n")); err != nil {
			t.Fatal(err)
		}
		root, err := hostfs.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if _, err := root.Node(provision); errors.Is(err, hostfs.ErrPlainNode) {
			t.Skip("no nodes can be made here, only files that stand for them")
		}
		inv, skipped := Discover(root, DefaultOptions())
		if (len(inv) == 2) != offered {
			t.Errorf("%s: offers %d resources", number, len(inv))
		}
		if !offered && (len(skipped) != 1 || !strings.Contains(skipped[0].Path, "sgx_provision")) {
			t.Errorf("%s: %v", number, skipped)
		}
	}
}
