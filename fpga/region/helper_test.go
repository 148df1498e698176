package region_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// task is what a helper process does: all requests at once, each as often as Threads says.
type task struct {
	Node     string
	Requests []region.Request
	Threads  int
	Timeout  time.Duration
	Hold     bool // open the ports and hold them until standard input ends, in place of Ensure
	Bench    *bench
}

// outcome is what a helper tells of one Ensure, a line of JSON each.
type outcome struct {
	Programmed bool
	AFU        fpga.AFUID
	Error      string
}

// start runs a task in a process of its own, under the same emulator.
func (n *node) start(k task) (*exec.Cmd, *bytes.Buffer) {
	n.Helper()
	k.Node = n.dir
	text, err := json.Marshal(k)
	if err != nil {
		n.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		n.Fatal(err)
	}
	cmd := exec.Command(self)
	var out bytes.Buffer
	cmd.Env = append(os.Environ(), helperVariable+"="+string(text))
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if k.Hold {
		in, err := cmd.StdinPipe()
		if err != nil {
			n.Fatal(err)
		}
		n.Cleanup(func() { in.Close(); cmd.Wait() })
	}
	if err := cmd.Start(); err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { cmd.Process.Kill() })
	return cmd, &out
}

// outcomes waits for a helper.
func (n *node) outcomes(cmd *exec.Cmd, out *bytes.Buffer) []outcome {
	n.Helper()
	if err := cmd.Wait(); err != nil {
		n.Fatal(err)
	}
	var list []outcome
	d := json.NewDecoder(out)
	for d.More() {
		var o outcome
		if err := d.Decode(&o); err != nil {
			n.Fatal(err)
		}
		list = append(list, o)
	}
	return list
}

// help is the main of a helper process.
func help(text string) error {
	var k task
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return err
	}
	root, err := hostfs.New(filepath.Join(k.Node, "host"))
	if err != nil {
		return err
	}
	p := &region.Programmer{Root: root, RunDir: root.Join("/run/inlay"), Store: "/srv/intel.com/fpga"}
	switch {
	case k.Hold:
		return hold(p, k)
	case k.Bench != nil:
		return k.Bench.run(p)
	}
	return ensureAll(p, k)
}

func ensureAll(p *region.Programmer, k task) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), k.Timeout, fmt.Errorf("%s are over", k.Timeout))
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	var failed error
	for _, req := range k.Requests {
		for range max(1, k.Threads) {
			all.Go(func() {
				res, err := p.Ensure(ctx, req)
				o := outcome{Programmed: res.Programmed, AFU: res.AFU}
				if err != nil {
					o.Error = err.Error()
				}
				mu.Lock()
				defer mu.Unlock()
				if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
					failed = err
				}
			})
		}
	}
	all.Wait()
	p.Wait()
	return failed
}

// hold opens the ports as a container does and keeps them until it is told to end.
func hold(p *region.Programmer, k task) error {
	for _, req := range k.Requests {
		f, err := os.OpenFile(p.Root.Join("/dev/"+req.Port), os.O_RDWR, 0)
		for try := 0; errors.Is(err, unix.EBUSY) && try < 100; try++ { // whoever waits for us looks by opening it alone
			time.Sleep(10 * time.Millisecond)
			f, err = os.OpenFile(p.Root.Join("/dev/"+req.Port), os.O_RDWR, 0)
		}
		if err != nil {
			return err
		}
		defer f.Close()
	}
	fmt.Println("{}")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
