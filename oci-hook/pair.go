package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/region"
)

// The modes in which a container has an FPGA.
const (
	modeAF          = "af"
	modeRegion      = "region"
	modeRegiondevel = "regiondevel"
)

// pair is a port and what it is to hold: <port>@<PCI address of its FME>=<interface>/<function>.
type pair struct {
	port, address string
	iface         fpga.InterfaceID
	function      fpga.FunctionID // "" in regiondevel mode
}

// parsePair reads a pair as inlay-nri wrote it.
func parsePair(s string) (pair, error) {
	device, ids, ok := strings.Cut(s, "=")
	iface, function, hasFunction := strings.Cut(ids, "/")
	port, address, hasAddress := strings.Cut(device, "@")
	if !ok || !hasFunction || !hasAddress || port == "" || address == "" {
		return pair{}, errors.New("it is not <port>@<PCI address>=<interface>/<function>")
	}
	p := pair{port: port, address: address}
	var err error
	if p.iface, err = fpga.ParseInterfaceID(iface); err != nil {
		return pair{}, err
	}
	if function != "" {
		p.function, err = fpga.ParseFunctionID(function)
	}
	return p, err
}

func (p pair) request() region.Request {
	return region.Request{Port: p.port, FME: p.address, Interface: p.iface, Function: p.function}
}

// checkPairs holds pairs against their mode. Two functions for one port would both be reported as loaded, and only the
// later one would be.
func checkPairs(mode string, pairs []pair) error {
	seen := map[string]bool{}
	for _, p := range pairs {
		switch {
		case seen[p.port]:
			return fmt.Errorf("port %.80q is in two pairs", p.port)
		case mode == modeRegiondevel && p.function != "":
			return fmt.Errorf("port %.80q: function %s: in mode regiondevel no function is chosen", p.port, p.function)
		case mode != modeRegiondevel && p.function == "":
			return fmt.Errorf("port %.80q: mode %s needs a function", p.port, mode)
		}
		seen[p.port] = true
	}
	return nil
}
