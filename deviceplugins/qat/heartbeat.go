package qat

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/inlay-project/inlay/internal/hostfs"
)

const (
	// leastPeriod is between two questions to one card at least, well above what its driver asks for by default.
	leastPeriod = time.Second
	// periodMargin is added to a longer period of the card.
	periodMargin = 100 * time.Millisecond
	// mostPeriod bounds what the card's configuration may say.
	mostPeriod = time.Minute
	// mostPause bounds how long somebody who looks once waits for a second answer.
	mostPause = 1500 * time.Millisecond
)

// pulse is a card's answer.
type pulse int

const (
	unasked pulse = iota // it could not be asked: not known by the driver, asked by somebody else just before, restarting
	beating
	silent
	refused // its driver has not asked it, although nobody else did and its period was over: it restarts, or is no kernel's
	down    // by its configuration; the driver does not ask it then
)

// reason is why VFs of such a card must not be given out. What is not known is not held against it.
func (p pulse) reason() string {
	switch p {
	case silent:
		return "the card's heartbeat status is -1: it does not respond"
	case refused:
		return "the card's heartbeat status is -1: its driver does not ask it"
	case down:
		return "the card's heartbeat status is -1: its state is down"
	}
	return ""
}

// counts are those that a card's driver has of its queries. Reading them asks nothing.
type counts struct {
	failed, sent         uint64
	hasFailed, knowsSent bool
	at                   time.Time // right after they were read
}

// count reads a card's counts.
func count(root *hostfs.Root, pf *PF) (c counts) {
	c.failed, c.hasFailed = counter(root, pf.debug()+"/heartbeat/queries_failed")
	c.sent, c.knowsSent = counter(root, pf.debug()+"/heartbeat/queries_sent")
	c.at = time.Now()
	return c
}

// hear makes a pulse of what a card's status says. before are the driver's counts at some time before, now those after it
// was read.
//
// The driver counts a query as sent when it has noted its time, and refuses another one until the card's period is over. So
// if none was sent since before, and the period has passed, it has another reason to say -1 than that it was asked too early.
func hear(root *hostfs.Root, pf *PF, status string, before, now counts) pulse {
	// The kernel's answers end in "\n\x00".
	line, _, _ := strings.Cut(strings.TrimLeft(status, " \t"), "\n")
	if strings.Trim(line, " \t\r\x00") != "-1" {
		return beating
	}
	if !before.hasFailed || !now.hasFailed || now.failed != before.failed {
		return silent
	}
	if state, err := root.ReadAttr(pf.SysPath + "/qat/state"); err == nil && state == "down" {
		return down
	}
	if before.knowsSent && now.knowsSent && now.sent == before.sent && now.at.Sub(before.at) >= pause(root, pf) {
		return refused
	}
	return unasked
}

// counter reads one of the driver's counts of queries; reading those asks nothing.
func counter(root *hostfs.Root, file string) (n uint64, ok bool) {
	text, err := root.ReadAttr(file)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseUint(strings.Trim(text, " \t\n\x00"), 10, 64)
	return n, err == nil
}

// pause is how long the card's driver wants to be left alone between two questions, by its own word.
func pause(root *hostfs.Root, pf *PF) time.Duration {
	ms, ok := counter(root, pf.debug()+"/heartbeat/config")
	if !ok {
		return leastPeriod
	}
	return time.Duration(min(ms, 1<<32))*time.Millisecond + periodMargin
}

// period is how long this process leaves a card alone between two questions.
func period(root *hostfs.Root, pf *PF) time.Duration {
	return max(leastPeriod, min(pause(root, pf), mostPeriod))
}

// queries tells whether reading a card's status is a question to the card: its driver counts them.
func queries(root *hostfs.Root, pf *PF) bool {
	_, counted := counter(root, pf.debug()+"/heartbeat/queries_failed")
	return counted
}

// beat is what is known of one card.
type beat struct {
	pf     *PF
	at     time.Time // of the last question
	last   pulse     // the last answer that was one
	counts counts    // after the last question
	doubt  bool      // the last question had no answer, and a second one can tell why
}

// heart remembers answers, so that no card is asked too often. Scan asks cards that it has not met, and all of them while
// there is something to settle; else the audits ask, and Scan takes what they were told.
type heart struct {
	root *hostfs.Root

	mu      sync.Mutex
	beats   map[string]beat // by status file, as this process sees it
	audited bool            // the audits ask
}

// listen gives a card's pulse.
func (h *heart) listen(pf *PF) pulse {
	h.mu.Lock()
	defer h.mu.Unlock()
	file := h.root.Join(pf.status())
	known, met := h.beats[file]
	known.pf = pf
	if now := time.Now(); !met || !queries(h.root, pf) || !h.audited && now.Sub(known.at) >= period(h.root, pf) {
		known.at = now
		known = h.ask(known)
	}
	h.beats[file] = known
	return known.last
}

// ask has the driver ask a card once, outside of the audits.
func (h *heart) ask(known beat) beat {
	before := known.counts
	if now := count(h.root, known.pf); before.at.IsZero() || now.failed != before.failed || now.sent != before.sent {
		before = now // somebody else has asked meanwhile, and has the answer
	}
	p := unasked
	status, err := h.root.ReadAttr(known.pf.status())
	known.counts = count(h.root, known.pf)
	if err == nil {
		p = hear(h.root, known.pf, status, before, known.counts)
	}
	known.doubt = err == nil && p == unasked && known.counts.knowsSent
	if p != unasked || !h.root.Exists(known.pf.status()) {
		known.last = p
	}
	return known
}

// settle asks the cards a second time of which the first answer said nothing, once their periods are over: for somebody who
// looks once. A card that wants to be left alone for long keeps its doubt. It tells whether any was asked.
func (h *heart) settle(ctx context.Context) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	var longest time.Duration
	asked := map[string]beat{}
	for file, known := range h.beats {
		if wait := pause(h.root, known.pf); known.doubt && wait <= mostPause {
			asked[file], longest = known, max(longest, wait)
		}
	}
	if len(asked) == 0 {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(longest):
	}
	for file, known := range asked {
		known.at = time.Now()
		known = h.ask(known)
		known.doubt = false
		h.beats[file] = known
	}
	return true
}

// answered takes what an audit was told, and says whether that changes a card's pulse.
func (h *heart) answered(file string, status []byte, err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, met := h.beats[file]
	if !met {
		return false
	}
	now, p := count(h.root, known.pf), unasked
	if err == nil {
		p = hear(h.root, known.pf, string(status), known.counts, now)
	}
	known.at, known.counts = now.at, now
	changed = err != nil && known.last != unasked || p != unasked && p != known.last
	if changed {
		known.last = p
	}
	h.beats[file] = known
	return changed
}

// keep drops the cards that are not among these, and notes who asks from now on.
func (h *heart) keep(pfs []*PF, audited bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	there := map[string]bool{}
	for _, pf := range pfs {
		there[h.root.Join(pf.status())] = true
	}
	for file := range h.beats {
		if !there[file] {
			delete(h.beats, file)
		}
	}
	h.audited = audited
}
