package cdi

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Mode is by which way a container gets its devices. It is never both: a device that is named in a CDI file and given by
// the kubelet as well is there twice.
type Mode string

const (
	// Auto answers with nodes and mounts, and with a CDI name only for what those cannot say (a mount that is no bind).
	Auto Mode = "auto"
	// On answers with CDI names wherever the family has a file for the device.
	On Mode = "on"
	// Off never answers with a CDI name.
	Off Mode = "off"
)

// ParseMode reads a mode's name.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case Auto, On, Off:
		return m, nil
	}
	return "", fmt.Errorf("%.40q is none of auto, on, off", s)
}

// Name is the fully qualified name of a device, as Allocate gives it: "intel.cdi.k8s.io/gpu=card0".
func Name(kind, device string) string { return kind + "=" + device }

// FileName is the file of a device within the folder: "intel.cdi.k8s.io-gpu-card0.yaml".
func FileName(kind, device string) string { return prefix(kind) + device + extension }

const extension = ".yaml"

func prefix(kind string) string { return strings.ReplaceAll(kind, "/", "-") + "-" }

// UnmarshalJSON takes true and false too: in YAML, on and off are truth values.
func (m *Mode) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "true":
		*m = On
		return nil
	case "false":
		*m = Off
		return nil
	}
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	*m = Mode(s)
	return nil
}
