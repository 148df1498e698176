package certs

import (
	"fmt"
	"slices"
	"time"
)

// report is what the last looks found, as Missing tells it. Once stored it is not changed.
type report struct {
	secret  objectReport
	configs []objectReport
	fence   time.Duration
}

// objectReport is one object's part.
type objectReport struct {
	name  string
	at    time.Time // of the last read that was answered
	err   error     // of the last read
	write error     // of the last write, nil if nothing was to be written
	lacks string    // why clients that use this configuration are not served
}

func newReport(p Policy, secret Secrets, configs []Registration) *report {
	r := &report{secret: objectReport{name: secret.String()}, fence: p.fence(nil)}
	for _, c := range configs {
		r.configs = append(r.configs, objectReport{name: c.String()})
	}
	return r
}

func (r *report) clone() *report {
	n := *r
	n.configs = slices.Clone(r.configs)
	return &n
}

func (o *objectReport) read(at time.Time, err error) {
	o.err = err
	if err == nil {
		o.at, o.write = at, nil
	}
}

// judge takes over what a look says about the clients of what is served.
func (r *report) judge(s situation, served *contents, now time.Time, p Policy) {
	r.fence = p.fence(served)
	for i, c := range s.configs {
		switch {
		case !c.known:
		case c.config == nil:
			r.configs[i].lacks = "does not exist"
		case served == nil || !c.config.trusts(served.leaf.cert, now, p):
			r.configs[i].lacks = "does not have the CA of the served certificate yet"
		default:
			r.configs[i].lacks = ""
		}
	}
}

// line says why the object keeps this process from being ready; "": it does not. That it cannot be read for a moment is
// no reason: then nothing has changed that would matter.
func (o *objectReport) line(now time.Time, fence time.Duration) string {
	switch {
	case o.at.IsZero() && o.err == nil:
		return o.name + " has not been read yet"
	case o.at.IsZero():
		return o.err.Error()
	case now.Sub(o.at) > fence && o.err != nil:
		return fmt.Sprintf("not read for %s: %v", now.Sub(o.at).Round(time.Second), o.err)
	case now.Sub(o.at) > fence:
		return fmt.Sprintf("%s has not been read for %s", o.name, now.Sub(o.at).Round(time.Second))
	case o.lacks != "" && o.write != nil:
		return fmt.Sprintf("%s %s: %v", o.name, o.lacks, o.write)
	case o.lacks != "":
		return o.name + " " + o.lacks
	}
	return ""
}

// Missing implements Source.
func (o *Own) Missing() []string {
	now := time.Now()
	r := o.seen.Load()
	var lines []string
	switch c := o.current.Load(); {
	case c == nil && r.secret.write != nil:
		lines = append(lines, fmt.Sprintf("no certificate yet: %v", r.secret.write))
	case c == nil && r.secret.err != nil:
		lines = append(lines, fmt.Sprintf("no certificate yet: %v", r.secret.err))
	case c == nil:
		lines = append(lines, "no certificate yet")
	case !now.Before(c.Leaf.NotAfter):
		lines = append(lines, "the certificate expired at "+c.Leaf.NotAfter.Format(time.RFC3339))
	}
	if o.current.Load() != nil {
		if line := r.secret.line(now, r.fence); line != "" {
			lines = append(lines, line)
		}
	}
	for i := range r.configs {
		if line := r.configs[i].line(now, r.fence); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
