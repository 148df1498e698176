//go:build integration

package families

import (
	"os"
	"testing"

	"github.com/inlay-project/inlay/integration/cluster"
)

var kit cluster.Kit

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }
