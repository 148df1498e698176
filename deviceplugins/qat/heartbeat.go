package qat

import (
	"strconv"
	"strings"
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

// ask has the driver ask a card once.
func ask(root *hostfs.Root, pf *PF) pulse {
	folder := pf.debug() + "/heartbeat"
	failed, counted := counter(root, folder+"/queries_failed")
	status, err := root.ReadAttr(folder + "/status")
	if err != nil {
		return unasked
	}
	// The kernel's answers end in "\n\x00".
	line, _, _ := strings.Cut(strings.TrimLeft(status, " \t"), "\n")
	if strings.Trim(line, " \t\r\x00") != "-1" {
		return beating
	}
	if now, ok := counter(root, folder+"/queries_failed"); !counted || !ok || now != failed {
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

// beat is what is known of one card.
type beat struct {
	at   time.Time // of the last question
	last pulse     // the last answer that was one
}

// heart remembers answers, by PF address, so that no card is asked too often. It belongs to Scan.
type heart map[string]beat

// queries tells whether reading a card's status is a question to the card: its driver counts them.
func queries(root *hostfs.Root, pf *PF) bool {
	_, counted := counter(root, pf.debug()+"/heartbeat/queries_failed")
	return counted
}

// listen gives a card's pulse: a new one if its period is over, else what is known.
func (h heart) listen(root *hostfs.Root, pf *PF) pulse {
	known, asked := h[pf.Address]
	if now := time.Now(); !asked || !queries(root, pf) || now.Sub(known.at) >= period(root, pf) {
		known.at = now
		if p := ask(root, pf); p != unasked {
			known.last = p
		} else if !root.Exists(pf.debug() + "/heartbeat/status") {
			known.last = unasked
		}
		h[pf.Address] = known
	}
	return known.last
}

// forget drops the cards that are not among these.
func (h heart) forget(pfs []*PF) {
	there := map[string]bool{}
	for _, pf := range pfs {
		there[pf.Address] = true
	}
	for address := range h {
		if !there[address] {
			delete(h, address)
		}
	}
}
