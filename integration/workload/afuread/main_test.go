package main

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFUIDIsPrintedAsSysfsDoes(t *testing.T) {
	// Feature header, then GUID_L and GUID_H, each little endian.
	raw, err := hex.DecodeString("0100000000000010" + "0b04f98336439ef8" + "13c4a3a4c44d42d8")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := afuID(raw), "d8424dc4a4a3c413f89e433683f9040b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOtherFilesAreNotPorts(t *testing.T) {
	if _, err := readAFU("/dev/null"); err == nil || !strings.Contains(err.Error(), "not the name") {
		t.Errorf("got %v", err)
	}
	plain := filepath.Join(t.TempDir(), "dfl-port.0")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readAFU(plain); err == nil || !strings.Contains(err.Error(), "PORT_GET_REGION_INFO") {
		t.Errorf("got %v, want the failed ioctl named", err)
	}
}
