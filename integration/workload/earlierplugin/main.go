// Command earlierplugin stands in for the FPGA device plugin that clusters had before Inlay, so that moving from the one
// to the other can be tested: the same names of resources, devices, sockets and CDI files, and the same answers.
//
//	earlierplugin -mode region
//	earlierplugin -install-hook /opt/intel/fpga-sw/intel-fpga-crihook
//
// In mode region an answer has the port nodes of an FME and the CDI device intel.cdi.k8s.io/fpga=<FME>, in mode af one
// port's node. It asks neither for PreStartContainer nor for a preferred allocation. What differs from that plugin: cards
// are looked for once, and its hook programs nothing and notes that it ran. It shares no code with Inlay.
package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// hookText is the hook: a line a run.
const hookText = "#!/bin/sh\necho ran >>/var/log/crihook.ran\n"

func main() {
	mode := flag.String("mode", "af", "af or region")
	hook := flag.String("install-hook", "", "write the hook to this file, and end")
	sys := flag.String("sys", "/host/sys", "the host's sysfs")
	flag.Parse()
	var err error
	if *hook != "" {
		err = os.WriteFile(*hook, []byte(hookText), 0o755)
	} else {
		err = serve(*sys, *mode)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "earlierplugin:", err)
		os.Exit(1)
	}
}

// serve serves all resources until one fails.
func serve(sys, mode string) error {
	resources, err := discover(sys, mode)
	if err != nil {
		return err
	}
	ended := make(chan error)
	for name, devices := range resources {
		p := &plugin{name: name, devices: devices, cdi: mode == "region"}
		go func() { ended <- p.run(context.Background()) }()
	}
	return <-ended // the process ends with it
}

// discover gives the ports of each device of each resource.
func discover(sys, mode string) (map[string]map[string][]string, error) {
	resources := map[string]map[string][]string{}
	add := func(resource, device, port string) {
		if resources[resource] == nil {
			resources[resource] = map[string][]string{}
		}
		resources[resource][device] = append(resources[resource][device], port)
	}
	fmes, err := filepath.Glob(sys + "/class/fpga_region/region*/dfl-fme.*")
	if err != nil {
		return nil, err
	}
	for _, fme := range fmes {
		ids, _ := filepath.Glob(fme + "/dfl-fme-region.*/fpga_region/region*/compat_id")
		ports, _ := filepath.Glob(filepath.Dir(fme) + "/dfl-port.*")
		if len(ids) == 0 {
			continue
		}
		region, err := read(ids[0])
		if err != nil {
			return nil, err
		}
		for _, port := range ports {
			if mode == "region" {
				add("region-"+region, filepath.Base(fme), filepath.Base(port))
				continue
			}
			afu, err := read(port + "/afu_id")
			if err != nil {
				return nil, err
			}
			raw, err := hex.DecodeString(region + afu)
			if err != nil {
				return nil, err
			}
			add("af-"+region[:3]+"."+afu[:3]+"."+base64.RawURLEncoding.EncodeToString(raw), filepath.Base(port), filepath.Base(port))
		}
	}
	if len(resources) == 0 {
		return nil, fmt.Errorf("%s: no FPGA", sys)
	}
	return resources, nil
}

func read(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}
