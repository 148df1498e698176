package uevent

import (
	"bytes"
	"errors"
	"strings"
)

// Event is one kernel message.
type Event struct {
	Action    string // add, remove, change, move, online, offline, bind, unbind
	DevPath   string // below /sys
	Subsystem string
	DevName   string // node below /dev, empty for devices without one
}

// ErrMalformed is for a message that is not a kernel uevent, for example one of udev's.
var ErrMalformed = errors.New("not a kernel uevent")

// Parse reads one message: "ACTION@DEVPATH\0KEY=VALUE\0…".
func Parse(msg []byte) (Event, error) {
	head, rest, ok := bytes.Cut(msg, []byte{0})
	action, path, at := strings.Cut(string(head), "@")
	if !ok || !at || action == "" || !strings.HasPrefix(path, "/") {
		return Event{}, ErrMalformed
	}
	e := Event{Action: action, DevPath: path}
	for len(rest) > 0 {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{0})
		key, value, _ := bytes.Cut(field, []byte{'='})
		switch string(key) {
		case "SUBSYSTEM":
			e.Subsystem = string(value)
		case "DEVNAME":
			e.DevName = string(value)
		}
	}
	return e, nil
}
