//go:build integration

package cluster

import (
	"os"
	"testing"
)

var kit Kit

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }
