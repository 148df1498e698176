package mirror

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/sgx/epc"
	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/webhook/api/follow"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const (
	// spacing is between two writes at least: changes that come together are written together.
	spacing = 25 * time.Millisecond
	// refreshAfter is how old "synced" gets before it is written again. What is followed tells each minute that it is in
	// step, somewhat early or late; a write wakes the file system's threads a dozen times, so not each is written.
	refreshAfter = 5*time.Minute - 15*time.Second

	firstRetry = time.Second
	lastRetry  = time.Minute
)

// Source follows mappings and tells a handler of them until ctx ends; follow.Mappings is one.
type Source interface {
	Run(ctx context.Context, h follow.Handler[v2.Object])
}

// Pods follows the pods of the node and tells a handler of them until ctx ends; what epc.Source gives is one.
type Pods interface {
	Run(ctx context.Context, h follow.Handler[*epc.Pod])
}

// Observer is told what is worth counting; it must not block.
type Observer interface {
	// Holds says what the file holds now; the zero time is a file that is missing or of no use.
	Holds(synced time.Time, mappings int)
	Written(err error)
}

// Config is what a mirror needs.
type Config struct {
	File string
	// Source gives what follows the mappings of one kind with one interface id.
	Source func(kind v2.Kind, iface fpga.InterfaceID) Source
	// Pods is followed when the node was seen to have SGX; nil keeps no limits of enclave memory.
	Pods     Pods
	Observer Observer
	Log      logrus.FieldLogger
}

// Mirror writes one policy file. Its methods are safe for concurrent use; a nil Mirror does nothing.
type Mirror struct {
	c    Config
	put  func(file string, text []byte, changed bool) error
	wake chan struct{}

	mu       sync.Mutex
	sources  []*source
	begun    int         // so many of them are followed already
	pods     *pods       // nil: SGX was never seen
	open     bool        // there is SGX, and nobody's is limited
	looked   bool        // at the file of before
	left     time.Time   // when that was in step
	earlier  *policy.EPC // of that, until the pods are in step
	ready    bool        // the mappings were in step once, so there is something true to write
	changed  bool        // what is known differs from the document
	cardless bool        // no card was seen yet, so the file is to be there
	written  time.Time
	trouble  error // of the last write
}

// New makes a mirror, which does nothing before its Run.
func New(c Config) *Mirror {
	return &Mirror{c: c, put: put, wake: make(chan struct{}, 1)}
}

// See tells the interface ids of the node's cards, as often as somebody looks. cards is whether there are any: of a sick
// card the id is not known.
func (m *Mirror) See(cards bool, ids []fpga.InterfaceID) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	added := m.add(ids)
	none := !cards && len(m.sources) == 0
	if added || none != m.cardless {
		m.cardless = none
		m.nudge()
	}
}

// SeeSGX tells that the node has SGX, and whether its pods are to be limited in enclave memory. What the node has of it may
// go again; the pods are followed from the first time that they are to be limited.
func (m *Mirror) SeeSGX(limited bool) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if limited && m.c.Pods == nil && !m.open {
		m.c.Log.Warn("this node has SGX, but its name is not known: nobody's enclave memory is limited")
	}
	limited = limited && m.c.Pods != nil
	if limited && m.pods == nil {
		m.pods = &pods{told: nothingTold[limits](m)}
		m.nudge()
	}
	if m.open == limited {
		m.open, m.changed = !limited, true
		m.nudge()
	}
}

// add makes sources of ids that have none yet, and tells whether there were such. Called with mu held.
func (m *Mirror) add(ids []fpga.InterfaceID) bool {
	added := false
	for _, id := range ids {
		if slices.ContainsFunc(m.sources, func(s *source) bool { return s.iface == id }) {
			continue
		}
		for _, kind := range v2.Kinds() {
			m.sources = append(m.sources, &source{told: nothingTold[lead](m), kind: kind, iface: id})
		}
		added = true
	}
	return added
}

// nudge makes Run look at what is to be done.
func (m *Mirror) nudge() {
	select {
	case m.wake <- struct{}{}:
	default: // it is about to look
	}
}

// Missing says why the file is not in step, a line each. An API server that went away after everything was in step once
// is nothing that is missing: the file is good until it is too old for inlay-nri.
func (m *Mirror) Missing() []string {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for _, s := range m.sources {
		if s.joined {
			continue
		}
		line := fmt.Sprintf("policy: %ss of interface %s were never in step with the API server", s.kind, s.iface)
		if s.away != nil {
			line += fmt.Sprintf(": %v", s.away)
		}
		lines = append(lines, line)
	}
	if m.pods != nil && !m.pods.joined && !m.open {
		line := "policy: the pods of this node were never in step with the API server, so none gets enclaves that is not known from before"
		if m.pods.away != nil {
			line += fmt.Sprintf(": %v", m.pods.away)
		}
		lines = append(lines, line)
	}
	if m.trouble != nil {
		lines = append(lines, fmt.Sprintf("policy: %v", m.trouble))
	}
	return lines
}

// Run follows and writes until ctx ends, and has ended all that it began when it returns.
func (m *Mirror) Run(ctx context.Context) {
	if m == nil {
		return
	}
	var group sync.WaitGroup
	defer group.Wait()
	var doc document
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	retry, last := firstRetry, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
			m.start(ctx, &group)
			if wait := spacing - time.Since(last); wait > 0 {
				timer.Reset(wait)
				continue
			}
		case <-timer.C:
		}
		last = time.Now()
		timer.Stop()
		if err := m.bring(&doc); err == nil {
			retry = firstRetry
			continue
		}
		// By chance, so that the nodes of a cluster whose storage failed do not come back all at once.
		timer.Reset(retry*3/4 + rand.N(retry/2))
		retry = min(2*retry, lastRetry)
	}
}

// start begins to follow what is new.
func (m *Mirror) start(ctx context.Context, group *sync.WaitGroup) {
	m.mu.Lock()
	look := !m.looked && (len(m.sources) > 0 || m.pods != nil || m.open)
	m.mu.Unlock()
	var p *policy.Policy
	var known []fpga.InterfaceID
	if look {
		p, known = m.before()
	}
	m.mu.Lock()
	m.add(known) // before any source runs, so that nothing is written without them
	fresh := m.sources[m.begun:]
	m.begun = len(m.sources)
	if look {
		m.looked = true
		if p != nil {
			m.left, m.written, m.earlier = p.Synced, p.Synced, p.EPC
			m.ready = len(m.sources) == 0 // there are no mappings to wait for
		}
	}
	pods := m.pods
	if pods != nil && !pods.begun {
		pods.begun = true
		m.changed = m.changed || m.earlier == nil // from now on the file says that enclaves are limited
	} else {
		pods = nil
	}
	m.mu.Unlock()
	for _, s := range fresh {
		m.c.Log.WithFields(logrus.Fields{"kind": s.kind, "interface": s.iface}).Info("mappings are followed for the policy file")
		group.Go(func() { m.c.Source(s.kind, s.iface).Run(ctx, s) })
	}
	if pods != nil {
		m.c.Log.Info("pods of this node are followed for the policy file: the node has SGX")
		group.Go(func() { m.c.Pods.Run(ctx, pods) })
	}
}

// due tells whether there is something to write. Called with mu held.
func (m *Mirror) due() bool {
	if !m.ready {
		return false
	}
	return m.changed || m.trouble != nil || m.synced().Sub(m.written) >= refreshAfter
}

// stepped is called with mu held, when something was told to be in step.
func (m *Mirror) stepped() {
	if m.pods != nil && m.pods.joined {
		m.earlier = nil
	}
	m.ready = m.ready || !slices.ContainsFunc(m.sources, func(s *source) bool { return !s.joined })
	// A write that failed has its own time to be tried again.
	if m.ready && (m.changed || m.trouble == nil && m.due()) {
		m.nudge()
	}
}

// synced is when everything in the file was in step. What the file of before had of enclaves is as old as that file.
// Called with mu held.
func (m *Mirror) synced() time.Time {
	var times []time.Time
	for _, s := range m.sources {
		if s.joined {
			times = append(times, s.at)
		}
	}
	switch {
	case m.pods == nil || m.open:
	case m.pods.joined:
		times = append(times, m.pods.at)
	case m.earlier != nil:
		times = append(times, m.left)
	}
	if len(times) == 0 {
		return m.left
	}
	return slices.MinFunc(times, time.Time.Compare)
}

// enclaves gives the limits that the file is to have: those of the pods; until they are in step those of before. A node
// with SGX that knows of neither gives no pod enclaves without a limit. Called with mu held.
func (m *Mirror) enclaves() *policy.EPC {
	switch {
	case m.open:
		return nil
	case m.pods != nil && m.pods.joined:
		return m.pods.table(m.c.Log)
	case m.earlier == nil && m.pods != nil:
		return &policy.EPC{}
	}
	return m.earlier
}

// bring brings the file up to date, if there is something to bring.
func (m *Mirror) bring(doc *document) error {
	m.mu.Lock()
	due, changed, cardless, trouble := m.due(), m.changed, m.cardless, m.trouble
	synced := m.synced()
	if due && changed {
		doc.encode(m.sources, m.enclaves())
		m.changed = false
	}
	m.mu.Unlock()
	var err error
	switch {
	case due:
		err = m.write(doc, synced, changed || trouble != nil)
	case cardless:
		err = m.writeEmpty()
	case trouble == nil:
		return nil
	}
	if err != nil && (trouble == nil || trouble.Error() != err.Error()) {
		m.c.Log.WithError(err).Error("the policy file stays as it is")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trouble = err; err == nil && due {
		m.written = synced
	}
	return err
}

func (m *Mirror) write(doc *document, synced time.Time, changed bool) error {
	doc.date(synced)
	err := m.put(m.c.File, doc.text, changed)
	m.c.Observer.Written(err)
	if err != nil {
		return err
	}
	m.c.Observer.Holds(synced, doc.mappings)
	if changed {
		m.c.Log.WithFields(logrus.Fields{"file": m.c.File, "mappings": doc.mappings, "pods": doc.pods}).Info("policy file written")
	}
	return nil
}
