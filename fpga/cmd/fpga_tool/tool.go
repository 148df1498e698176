package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// ensurer is the part of region.Programmer that pr needs.
type ensurer interface {
	Ensure(context.Context, region.Request) (region.Result, error)
	Wait()
}

// tool is one call of fpga_tool: the world that it works on, and what it was asked.
type tool struct {
	stdout, stderr io.Writer
	env            func(string) (string, bool)
	terminal       bool // stderr is one: progress is one line that is written over
	driverOf       func(name string) (fpga.Driver, bool)
	ensurer        func(*region.Programmer) ensurer
	signals        func(context.Context) (ctx context.Context, stop func()) // ends the context with a signal; nil = none does

	options options
	root    *hostfs.Root
	unsaid  error // the first line of the text form that could not be written
}

type command struct {
	name, help string
	run        func(*tool, context.Context) error
	ends       bool // it ends itself when its context does; the others are ended by a signal's default action
}

// commands are the command words in the order of the help.
func commands() []command {
	return []command{
		{"info", "-b FILE          show what a bitstream file is", (*tool).info, false},
		{"install", "-b FILE          copy a bitstream file to its place in the store", (*tool).install, true},
		{"pr", "-b FILE -d PORT  program a port with a bitstream file", (*tool).pr, true},
		{"fpgainfo", "-d DEVICE        show an FME or a port", (*tool).device, false},
		{"fmeinfo", "-d DEVICE        the same", (*tool).device, false},
		{"portinfo", "-d DEVICE        the same", (*tool).device, false},
		{"list", "                 list FMEs and ports", (*tool).listAll, false},
		{"list-fme", "                 list FMEs", (*tool).listFMEs, false},
		{"list-port", "                 list ports", (*tool).listPorts, false},
		{"release", "-d FME -p N      take a port from the physical function, for a virtual one", (*tool).release, false},
		{"assign", "-d FME -p N      give it back", (*tool).assign, false},
	}
}

func (t *tool) openBitstream() (*bitstream.Bitstream, error) {
	if t.options.bitstream == "" {
		return nil, errors.New("which bitstream file? -b FILE")
	}
	return bitstream.OpenFile(t.options.bitstream, bitstream.Options{MaxBytes: t.options.maxBitstream})
}

// deviceName gives the name of the device that -d means: a bare name, a path of this process, or a path below the
// host's /dev. Links are followed inside the host root.
func (t *tool) deviceName() (string, error) {
	arg := t.options.device
	if arg == "" {
		return "", errors.New("which device? -d DEVICE, such as -d dfl-port.0; fpga_tool list shows them")
	}
	node := path.Join("/dev", arg)
	if strings.HasSuffix(arg, "/") {
		return "", fmt.Errorf("%.80q is no device name: -d takes a name such as dfl-port.0, or a device node", arg)
	}
	if strings.Contains(arg, "/") {
		var err error
		if node, err = t.root.HostPath(arg); err != nil {
			if !strings.HasPrefix(arg, "/dev/") {
				return "", err
			}
			node = path.Clean(arg)
		}
	}
	if target, err := t.root.Resolve(node); err == nil {
		node = target
	} else if !hostfs.Absent(err) {
		return "", err
	}
	name := path.Base(node)
	if _, ok := t.driverOf(name); !ok {
		return "", fmt.Errorf("%.80q is neither an FPGA port nor an FME", arg)
	}
	return name, nil
}

// port finds the port that -d means.
func (t *tool) port() (*fpga.FME, *fpga.Port, error) {
	name, err := t.deviceName()
	if err != nil {
		return nil, nil, err
	}
	if !card.IsPort(name) {
		return nil, nil, fmt.Errorf("%s is an FME, a port is needed", name)
	}
	return card.FindPort(t.root, name)
}

// openNode opens a device node as everybody does; others may have it open.
func (t *tool) openNode(node string, dev hostfs.Dev) (*os.File, error) {
	return card.OpenNode(t.root, node, dev, 0)
}

// checkAPI refuses a driver that speaks another version of the interface than we do.
func checkAPI(driver fpga.Driver, node *os.File) error {
	v, err := driver.APIVersion(node)
	if err != nil {
		return fmt.Errorf("API version: %w", err)
	}
	if v != 0 {
		return fmt.Errorf("the kernel driver has API version %d, this tool speaks version 0", v)
	}
	return nil
}
