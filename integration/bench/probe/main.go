// Command probe measures from inside the emulator, where the system calls are answered: what Ensure costs, and what a
// process costs. It prints JSON.
//
//	probe ensure -host-root DIR -port P -interface I -functions F1,F2 -n N [-memory]
//	probe spawn N EMPTY COMMAND ARG…
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/hostfs"
)

func main() {
	err := errors.New("usage: probe ensure … | probe spawn …")
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "ensure":
			err = ensure(os.Args[2:])
		case "spawn":
			err = spawn(os.Args[2:])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// ensured is what ensure prints. Times are in nanoseconds, memory in bytes.
type ensured struct {
	Total, PR []int64
	Before    int64 // anonymous memory before the first call
	Anonymous int64 // the most that was seen, with -memory
}

// ensure programs the port n times, the functions in turn, so that none is found loaded.
func ensure(args []string) error {
	f := flag.NewFlagSet("ensure", flag.ContinueOnError)
	hostRoot := f.String("host-root", "", "host tree")
	port := f.String("port", "dfl-port.0", "port")
	iface := f.String("interface", "", "interface id")
	functions := f.String("functions", "", "function ids, comma list")
	n := f.Int("n", 1, "how often")
	memory := f.Bool("memory", false, "watch the memory of this process, every millisecond")
	if err := f.Parse(args); err != nil {
		return err
	}
	root, err := hostfs.New(*hostRoot)
	if err != nil {
		return err
	}
	defer root.Close()
	p := &region.Programmer{Root: root, RunDir: filepath.Join(*hostRoot, "run/inlay"), Store: "/srv/intel.com/fpga"}
	var out ensured
	if out.Before, err = anonymous(); err != nil {
		return err
	}
	stop, watched := make(chan struct{}), make(chan int64, 1)
	if *memory {
		go watch(stop, watched)
	}
	choice := strings.Split(*functions, ",")
	for i := range *n {
		req := region.Request{Port: *port, Interface: fpga.InterfaceID(*iface), Function: fpga.FunctionID(choice[i%len(choice)])}
		began := time.Now()
		res, err := p.Ensure(context.Background(), req)
		took := time.Since(began)
		if err != nil {
			return err
		}
		if !res.Programmed {
			return fmt.Errorf("%s was found loaded: nothing was measured", req.Function)
		}
		out.Total, out.PR = append(out.Total, took.Nanoseconds()), append(out.PR, res.PR.Nanoseconds())
	}
	if *memory {
		close(stop)
		out.Anonymous = <-watched
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// watch gives the largest anonymous memory seen until stop.
func watch(stop <-chan struct{}, largest chan<- int64) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	most := int64(0)
	for {
		if now, err := anonymous(); err == nil {
			most = max(most, now)
		}
		select {
		case <-tick.C:
		case <-stop:
			largest <- most
			return
		}
	}
}

func anonymous() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if text, ok := bytes.CutPrefix(line, []byte("RssAnon:")); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(text)), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no RssAnon in /proc/self/status")
}

// spawned is what spawn prints, in nanoseconds.
type spawned struct{ Empty, Command []int64 }

// spawn runs two commands n times each, one after the other in turn.
func spawn(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: probe spawn N EMPTY COMMAND ARG…")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	var out spawned
	for range n {
		for _, c := range []struct {
			args []string
			into *[]int64
		}{{args[1:2], &out.Empty}, {args[2:], &out.Command}} {
			began := time.Now()
			p, err := os.StartProcess(c.args[0], c.args, &os.ProcAttr{Env: []string{}, Files: []*os.File{null, null, os.Stderr}})
			if err != nil {
				return err
			}
			state, err := p.Wait()
			if err != nil {
				return err
			}
			took := time.Since(began)
			if !state.Success() {
				return fmt.Errorf("%s: %v", c.args[0], state)
			}
			*c.into = append(*c.into, took.Nanoseconds())
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
