package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/sirupsen/logrus"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	o := options{}
	only := ""
	flag.BoolVar(&o.short, "short", false, "few samples: shows that everything works, not how well")
	flag.StringVar(&only, "only", "", "stages to run, comma list; all: "+strings.Join(stageNames(), ","))
	flag.StringVar(&o.out, "o", "", "also write the tables to this file, as Markdown")
	flag.StringVar(&o.bin, "bin", "bin", "folder of Inlay's programs (make build)")
	inside := flag.Bool(insideFlag, false, "set by the program itself, which runs a second time with a "+tmp+" of its own")
	flag.Parse()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	err := begin(ctx, o, *inside)
	stop()
	if err != nil {
		if !errors.Is(err, errSaid) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

// begin runs in memory where that is possible.
func begin(ctx context.Context, o options, inside bool) error {
	logrus.SetOutput(io.Discard) // NRI's library tells its own story there
	if inside {
		o.tmp = inMemory
		if err := memoryTmp(); err != nil {
			return err
		}
		return run(ctx, o, os.Stdout, os.Stderr)
	}
	done, reason, err := again(ctx)
	if done || err != nil {
		return err
	}
	o.tmp = "on disk (" + reason + ")"
	return run(ctx, o, os.Stdout, os.Stderr)
}

type options struct {
	short    bool
	only     []string
	out, bin string
	tmp      string // where temporary files are, in words
}

// flags says what was left out of a run, for its readers.
func (o options) flags() string {
	text := ""
	if o.short {
		text += " -short"
	}
	if len(o.only) > 0 {
		text += " -only " + strings.Join(o.only, ",")
	}
	return text
}

const inMemory = "in memory"

// stage is a few figures that are measured together.
type stage struct {
	name, title string
	limit       time.Duration // the stage is ended then
	root        string        // what it needs root for; "" = it does not
	run         func(context.Context, *bench) ([]row, error)
}

// stages in the order of the tables. What is measured in processes that rest comes last: nothing else runs then.
func stages() []stage {
	return []stage{
		{"create", "CreateContainer on containerd", 11 * time.Minute, "containerd", createContainer},
		{"warm", "Start of a warm region container on containerd", 3 * time.Minute, "containerd", warmStart},
		{"handler", "inlay-nri's answer for a plain container", time.Minute, "", plainHandler},
		{"ensure", "region.Ensure", 2 * time.Minute, "", ensureRegion},
		{"hook", "inlay-hook", time.Minute, "", hookOnLoaded},
		{"register", "The kubelet comes back", time.Minute, "", kubeletReturns},
		{"change", "Something changed", 3 * time.Minute, "", changes},
		{"allocate", "Allocate", time.Minute, "", allocate},
		{"translate", "A pod's translation", time.Minute, "", translate},
		{"webhook", "inlay-webhook", 6 * time.Minute, "etcd and kube-apiserver", webhook},
		{"mirror", "inlay-deviceplugin's mirror of the mappings", 4 * time.Minute, "etcd and kube-apiserver", mirrorMemory},
		{"families", "All device families on one node", 12 * time.Minute, "", allFamilies},
		{"scale", "Very many devices of one resource", 4 * time.Minute, "", scale},
		{"memory", "Memory after 1,000 containers", 2 * time.Minute, "", memory},
		{"idle", "Nothing happens", 7 * time.Minute, "", idle},
	}
}

func stageNames() []string {
	var names []string
	for _, s := range stages() {
		names = append(names, s.name)
	}
	return names
}

// wholeLimit bounds the run, whatever the stages would like.
const wholeLimit = 40 * time.Minute

func run(ctx context.Context, o options, stdout, stderr io.Writer) error {
	for _, name := range o.only {
		if !slices.Contains(stageNames(), name) {
			return fmt.Errorf("-only: %q is none of %s", name, strings.Join(stageNames(), ", "))
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wholeLimit, fmt.Errorf("the whole run took longer than %v", wholeLimit))
	defer cancel()
	c := observe(o)
	if o.out != "" {
		out, err := filepath.Abs(o.out)
		if err != nil {
			return err
		}
		if o.out = out; strings.HasPrefix(out, tmp+"/") && o.tmp == inMemory {
			return fmt.Errorf("-o %s: this program's %s is its own and is gone when it ends", out, tmp)
		}
	}
	b, err := newBench(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer b.close()
	var tables []table
	var failed []string
	for _, s := range stages() {
		if len(o.only) > 0 && !slices.Contains(o.only, s.name) {
			continue
		}
		t := table{title: s.title}
		if t.rows, err = b.stage(ctx, s); err != nil {
			failed = append(failed, s.name)
		}
		t.print(stdout)
		tables = append(tables, t)
	}
	c.took = time.Since(c.began)
	fmt.Fprintf(stdout, "\n%s\n", strings.Join(c.lines(), "\n"))
	if o.out != "" {
		var text bytes.Buffer
		document(&text, c, tables)
		if err := renameio.WriteFile(o.out, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("broken: %s", strings.Join(failed, ", "))
	}
	return nil
}

// notRunError marks what cannot run here: a reason for the table, no failure.
type notRunError struct{ reason string }

func (e notRunError) Error() string { return e.reason }

// stage runs one stage and makes rows of whatever comes of it.
func (b *bench) stage(ctx context.Context, s stage) ([]row, error) {
	if s.root != "" && os.Geteuid() != 0 {
		b.say("%s: NOT RUN: needs root for %s", s.name, s.root)
		return []row{{what: "all figures", verdict: notRun, samples: "needs root for " + s.root}}, nil
	}
	b.say("%s (at most %v)", s.name, s.limit)
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("it took longer than %v", s.limit))
	defer cancel()
	began := time.Now()
	rows, err := s.run(ctx, b)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if why := (notRunError{}); errors.As(err, &why) {
		b.say("%s: NOT RUN: %s", s.name, why.reason)
		return append(rows, row{what: "the rest", verdict: notRun, samples: firstPart(why.reason, 160)}), nil
	}
	if err != nil {
		line := strings.Join(strings.Fields(err.Error()), " ")
		b.say("%s: BROKEN: %v", s.name, err)
		return append(rows, row{what: "the rest", verdict: broken, samples: firstPart(line, 160)}), err
	}
	b.say("%s: done in %v", s.name, time.Since(began).Round(100*time.Millisecond))
	return rows, nil
}

func firstPart(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
