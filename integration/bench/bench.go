package main

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
	"strings"
	"syscall"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// The functions that are programmed: what an emulated card holds at first, and another one.
const (
	iface = emulator.DefaultInterface
	nlb0  = emulator.DefaultAFU
	nlb3  = "f7df405cbd7acf7222f144b0b93acd18"

	regionResource = "fpga.intel.com/region-" + iface
)

// bench is what the stages share.
type bench struct {
	options
	dir      string // ours alone, with a short name: a unix socket's path has room for 107 bytes
	progress io.Writer
	began    time.Time
	folders  int
}

const module = "github.com/inlay-project/inlay"

// newBench checks that Inlay is built, and builds the baselines.
func newBench(ctx context.Context, o options, progress io.Writer) (*bench, error) {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return nil, err
	}
	o.bin = bin
	dir, err := os.MkdirTemp("/tmp", "ib-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir, progress: progress, began: time.Now()}
	for _, name := range []string{"inlay-deviceplugin", "inlay-nri", "inlay-hook", "inlay-webhook", "fpga-emulator"} {
		if _, err := os.Stat(b.ours(name)); err != nil {
			b.close()
			return nil, fmt.Errorf("%w; run make build before", err)
		}
	}
	// What is compared with inlay-webhook is compiled with the same profile.
	webhook, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", module+"/webhook").Output()
	if err != nil {
		b.close()
		return nil, fmt.Errorf("go list %s/webhook: %w", module, err)
	}
	profile := filepath.Join(strings.TrimSpace(string(webhook)), "default.pgo")
	for _, name := range []string{"emptyprogram", "emptyplugin", "bareplugin", "plainhttps", "probe"} {
		b.say("building %s", name)
		pgo := "off"
		if name == "plainhttps" {
			pgo = profile
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-pgo="+pgo, "-o", b.helper(name), module+"/integration/bench/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.close()
			return nil, fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return b, nil
}

func (b *bench) close() {
	if err := os.RemoveAll(b.dir); err != nil {
		b.say("%v", err)
	}
}

func (b *bench) ours(name string) string   { return filepath.Join(b.bin, name) }
func (b *bench) helper(name string) string { return filepath.Join(b.dir, name) }

// say prints a line of progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "%6.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// samples is how many of something to measure.
func (b *bench) samples(full, short int) int {
	if b.short {
		return short
	}
	return full
}

// folder makes a folder for one stage; what removes it is deferred by the caller. Its name is short, see dir.
func (b *bench) folder() (dir string, remove func(), err error) {
	b.folders++
	dir = filepath.Join(b.dir, fmt.Sprint(b.folders))
	return dir, func() { _ = os.RemoveAll(dir) }, os.Mkdir(dir, 0o755) // the whole of dir goes in the end
}

// emulate runs the emulator's own commands: tree, gbs, aocx.
func (b *bench) emulate(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, b.ours("fpga-emulator"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("fpga-emulator %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// kubeletDir is the kubelet's folder in a host tree. Its name is shorter than a real one's, for the sockets below it.
func kubeletDir(root string) string { return filepath.Join(root, "k") }

// tree makes a host tree with these cards.
func (b *bench) tree(ctx context.Context, dir string, cards ...string) error {
	args := []string{"tree"}
	for _, c := range cards {
		args = append(args, "--card", c)
	}
	return b.emulate(ctx, append(args, dir)...)
}

// findFME reads the first card of a host tree.
func findFME(root string) (*fpga.FME, error) {
	tree, err := hostfs.New(root)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	return card.FindFME(tree, "dfl-fme.0")
}

// store makes the folder of the interface's bitstreams.
func store(root string) (string, error) {
	dir := filepath.Join(root, "srv/intel.com/fpga", iface)
	return dir, os.MkdirAll(dir, 0o755)
}

// probe runs the probe under the emulator and reads its JSON.
func (b *bench) probe(ctx context.Context, into any, emulatorFlags []string, args ...string) error {
	all := append(append(append([]string{}, emulatorFlags...), "--", b.helper("probe")), args...)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, b.ours("fpga-emulator"), all...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("probe %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return json.Unmarshal(out, into)
}

// start runs a program in the background; what ends it is deferred by the caller.
func (b *bench) start(dir, name, path string, args ...string) (*process.Process, func(), error) {
	p, err := process.Start(process.Command{
		Name: name, Path: path, Args: args, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Log: filepath.Join(dir, name+".log"),
	})
	if err != nil {
		return nil, nil, err
	}
	return p, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second) // the stage's own may be over
		defer cancel()
		if err := p.Terminate(ctx, 5*time.Second); err != nil {
			b.say("%v", err)
		}
	}, nil
}

// ended adds the last lines of programs that have ended meanwhile to an error.
func ended(err error, all ...*process.Process) error {
	for _, p := range all {
		if err != nil && p != nil && !p.Alive() {
			err = errors.Join(err, fmt.Errorf("%s ended:\n%s", p.Name(), p.Tail(5)))
		}
	}
	return err
}

// pause waits, unless the stage is over before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
