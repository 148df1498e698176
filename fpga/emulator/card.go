package emulator

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Driver is the kernel driver a card is emulated for.
type Driver string

// The two drivers: the in-tree one (Linux >= 4.19) and Intel's older out-of-tree one.
const (
	DFL  Driver = "dfl"
	OPAE Driver = "opae"
)

// What a card has when nothing else is asked for: the Arria 10 PAC (DCP 1.2) with the loop-back function NLB0.
const (
	DefaultInterface = "69528db6eb31577a8c3668f9faa081f6"
	DefaultAFU       = "d8424dc4a4a3c413f89e433683f9040b"
)

// allOnes is what every id reads as when the card's firmware is dead.
const allOnes = "ffffffffffffffffffffffffffffffff"

// maxPorts bounds the ports of one card; real ones have one to four.
const maxPorts = 16

// Card describes one FPGA card of a host tree.
type Card struct {
	Driver    Driver
	Ports     int      // number of ports, at least 1
	Interface string   // interface id of every region, 32 lowercase hex; empty = DefaultInterface
	NUMA      int      // NUMA node, -1 = the firmware names none
	VF        bool     // the last port was released and lives on a VF
	AFUs      []string // function of port i, the last one repeated; empty = DefaultAFU
	PCI       string   // address of the PF; empty = a free one, as the samples of spec 1.7 have them
}

var pciAddress = regexp.MustCompile(`^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$`)

// ParseCard reads the form of the --card flag: driver[:key=value[,key=value…]] with the keys ports, iface, numa,
// vf (0 or 1), afu (one id, or one a port joined by "/") and pci.
func ParseCard(text string) (Card, error) {
	driver, rest, _ := strings.Cut(text, ":")
	c := Card{Driver: Driver(driver), Ports: 1}
	seen := map[string]bool{}
	if rest != "" {
		for pair := range strings.SplitSeq(rest, ",") {
			key, value, ok := strings.Cut(pair, "=")
			if !ok {
				return Card{}, fmt.Errorf("card %q: %q is not key=value", text, pair)
			}
			if seen[key] {
				return Card{}, fmt.Errorf("card %q: %s is given twice", text, key)
			}
			seen[key] = true
			if err := c.set(key, value); err != nil {
				return Card{}, fmt.Errorf("card %q: %w", text, err)
			}
		}
	}
	c, err := c.complete()
	if err != nil {
		return Card{}, fmt.Errorf("card %q: %w", text, err)
	}
	return c, nil
}

func (c *Card) set(key, value string) error {
	var err error
	switch key {
	case "ports":
		c.Ports, err = strconv.Atoi(value)
	case "iface":
		c.Interface = value
	case "numa":
		c.NUMA, err = strconv.Atoi(value)
	case "vf":
		c.VF, err = strconv.ParseBool(value)
	case "afu":
		c.AFUs = strings.Split(value, "/")
	case "pci":
		c.PCI = value
	default:
		return fmt.Errorf("unknown key %q (known: ports, iface, numa, vf, afu, pci)", key)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// complete fills in the defaults and checks what is there.
func (c Card) complete() (Card, error) {
	if c.Driver != DFL && c.Driver != OPAE {
		return c, fmt.Errorf("driver %q: want dfl or opae", c.Driver)
	}
	if c.Ports < 1 || c.Ports > maxPorts {
		return c, fmt.Errorf("%d ports: want 1 to %d", c.Ports, maxPorts)
	}
	if c.NUMA < -1 {
		return c, fmt.Errorf("numa %d: want -1 or a node", c.NUMA)
	}
	if c.Interface == "" {
		c.Interface = DefaultInterface
	}
	if len(c.AFUs) == 0 {
		c.AFUs = []string{DefaultAFU}
	}
	var err error
	if c.Interface, err = parseID(c.Interface); err != nil {
		return c, fmt.Errorf("iface: %w", err)
	}
	afus := make([]string, c.Ports)
	for i := range afus {
		if afus[i], err = parseID(c.AFUs[min(i, len(c.AFUs)-1)]); err != nil {
			return c, fmt.Errorf("afu: %w", err)
		}
	}
	if len(c.AFUs) > c.Ports {
		return c, fmt.Errorf("%d afu ids for %d ports", len(c.AFUs), c.Ports)
	}
	c.AFUs = afus
	if c.PCI != "" && !pciAddress.MatchString(c.PCI) {
		return c, fmt.Errorf("pci %q: want dddd:bb:dd.f in lowercase hex", c.PCI)
	}
	return c, nil
}

// parseID brings an id (dashed or not, any case) into sysfs form: 32 lowercase hex digits.
func parseID(s string) (string, error) {
	id := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(s), "-", ""))
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 {
		return "", fmt.Errorf("id %q: want 32 hex digits", s)
	}
	return id, nil
}
