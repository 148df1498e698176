package qat

import (
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
)

// pulse is a card's answer.
type pulse int

const (
	unasked pulse = iota // it could not be asked: not known by the driver, asked by somebody else just before, restarting
	beating
	silent
	down // by its configuration; the driver does not ask it then
)

// reason is why VFs of such a card must not be given out. What is not known is not held against it.
func (p pulse) reason() string {
	switch p {
	case silent:
		return "the card's heartbeat status is -1: it does not respond"
	case down:
		return "the card's heartbeat status is -1: its state is down"
	}
	return ""
}

// ask has the driver ask a card once, outside of the audits.
func ask(root *hostfs.Root, pf *PF) pulse {
	failed, counted := counter(root, pf.debug()+"/heartbeat/queries_failed")
	status, err := root.ReadAttr(pf.status())
	if err != nil {
		return unasked
	}
	return hear(root, pf, status, failed, counted)
}

// hear makes a pulse of what a card's status says. failed is the driver's count of failed queries before, if it has one.
func hear(root *hostfs.Root, pf *PF, status string, failed uint64, counted bool) pulse {
	// The kernel's answers end in "\n\x00".
	line, _, _ := strings.Cut(strings.TrimLeft(status, " \t"), "\n")
	if strings.Trim(line, " \t\r\x00") != "-1" {
		return beating
	}
	if now, ok := counter(root, pf.debug()+"/heartbeat/queries_failed"); !counted || !ok || now != failed {
		return silent
	}
	if state, err := root.ReadAttr(pf.SysPath + "/qat/state"); err == nil && state == "down" {
		return down
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

// period is how long the card's driver wants to be left alone between two questions.
func period(root *hostfs.Root, pf *PF) time.Duration {
	ms, _ := counter(root, pf.debug()+"/heartbeat/config")
	return max(leastPeriod, min(time.Duration(min(ms, 1<<20))*time.Millisecond+periodMargin, mostPeriod))
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
	failed uint64    // the driver's count of failed queries
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
	now := time.Now()
	if !met || !queries(h.root, pf) || !h.audited && now.Sub(known.at) >= period(h.root, pf) {
		known.at = now
		if p := ask(h.root, pf); p != unasked {
			known.last = p
		} else if !h.root.Exists(pf.status()) {
			known.last = unasked
		}
		known.failed, _ = counter(h.root, pf.debug()+"/heartbeat/queries_failed")
	}
	h.beats[file] = known
	return known.last
}

// answered takes what an audit was told, and says whether that changes a card's pulse.
func (h *heart) answered(file string, status []byte, err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, met := h.beats[file]
	if !met {
		return false
	}
	p := unasked
	if err == nil {
		p = hear(h.root, known.pf, string(status), known.failed, true)
	}
	known.at = time.Now()
	if p == silent {
		known.failed, _ = counter(h.root, known.pf.debug()+"/heartbeat/queries_failed")
	}
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
