package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/inlay-project/inlay/integration/process"
)

// metrics reads the page that one of our daemons serves.
func metrics(ctx context.Context, page string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "", err
	}
	req.Close = true // a connection that stays open would be ours to pay for
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "inlay_")) {
		err = fmt.Errorf("%s: %s, %d bytes", page, resp.Status, len(text))
	}
	return string(text), err
}

// histogram is what a metrics page tells of one: how many observations are at most each bound.
type histogram struct {
	bounds []float64 // ascending, the last +Inf
	counts []float64 // cumulative
}

// histogramOf reads a histogram without labels of its own.
func histogramOf(page, name string) (histogram, error) {
	var h histogram
	for line := range strings.Lines(page) {
		rest, ok := strings.CutPrefix(line, name+`_bucket{le="`)
		bound, count, cut := strings.Cut(strings.TrimSpace(rest), `"} `)
		if !ok || !cut {
			continue
		}
		le, err := strconv.ParseFloat(bound, 64)
		if err != nil {
			return h, fmt.Errorf("%s: %w", name, err)
		}
		n, err := strconv.ParseFloat(count, 64)
		if err != nil {
			return h, fmt.Errorf("%s: %w", name, err)
		}
		h.bounds, h.counts = append(h.bounds, le), append(h.counts, n)
	}
	if len(h.counts) == 0 || !math.IsInf(h.bounds[len(h.bounds)-1], 1) {
		return h, fmt.Errorf("no histogram %s", name)
	}
	return h, nil
}

func (h histogram) total() float64 { return h.counts[len(h.counts)-1] }

// holds gives the smallest bound that a share of the observations keeps to.
func (h histogram) holds(share float64) time.Duration {
	for i, n := range h.counts {
		if n >= share*h.total() && !math.IsInf(h.bounds[i], 1) {
			return time.Duration(math.Round(h.bounds[i] * 1e9))
		}
	}
	return math.MaxInt64
}

// freeAddress is a port of this machine that nobody uses now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// switches are the voluntary context switches of a process' threads, by thread.
func switches(p *process.Process) (map[string]int64, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.Pid()))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no threads", p.Name())
	}
	all := map[string]int64{}
	for _, f := range files {
		n, err := process.StatusNumber(f, "voluntary_ctxt_switches:")
		if err != nil {
			return nil, err
		}
		all[f] = n
	}
	return all, nil
}

// switched sums the difference of two readings. A thread that is new counts in full.
func switched(before, after map[string]int64) int64 {
	sum := int64(0)
	for thread, n := range after {
		sum += n - before[thread]
	}
	return sum
}
