package certs

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	p, err := shortPolicy().complete()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	whole := func(at time.Time) *contents {
		c, err := build(action{kind: anew}, situation{stored: &contents{}}, at, p)
		if err != nil {
			t.Fatal(err)
		}
		c.tidy = true
		return c
	}
	a, b, empty := whole(now), whole(now), &contents{}
	joined := &contents{ca: b.ca, leaf: a.leaf, bundle: []*x509.Certificate{b.ca.cert, a.ca.cert}, tidy: true}
	issuedBoth := &contents{ca: b.ca, leaf: b.leaf, bundle: joined.bundle, tidy: true}
	config := func(c *contents, since time.Duration) seen {
		conf := &Configuration{Entries: []Entry{{Name: "x", CABundle: encodeBundle(c.bundle)}}}
		return seen{name: "x", known: true, config: conf, carries: true, since: now.Add(-since)}
	}
	absent := seen{name: "x", known: true, since: now.Add(-time.Hour)}
	long := time.Hour
	for _, c := range []struct {
		name string
		s    situation
		want kind
		wait time.Duration
	}{
		{"nothing anywhere", situation{stored: empty, configs: []seen{absent}}, anew, 0},
		{"nothing, but clients have been served", situation{stored: empty, configs: []seen{config(a, 0)}, oddSince: now}, hold, grace},
		{"nothing, and nobody came", situation{stored: empty, configs: []seen{config(a, 0)}, oddSince: now.Add(-grace)}, anew, 0},
		{"configurations cannot be read", situation{stored: empty, configs: []seen{{name: "x"}}, oddSince: now}, hold, grace},
		{"lost, we know it", situation{stored: empty, served: a, fresh: true, settled: true, configs: []seen{config(a, 0)}, oddSince: now}, putBack, 0},
		{"lost, we knew it long ago", situation{stored: empty, served: a, settled: true, configs: []seen{config(a, 0)}, oddSince: now}, hold, grace},
		{"leaf lost", situation{stored: &contents{ca: a.ca, bundle: a.bundle}, configs: []seen{absent}}, issueLeaf, 0},
		{"CA lost", situation{stored: &contents{leaf: a.leaf, bundle: a.bundle}, configs: []seen{config(a, long)}, settled: true}, joinCA, 0},
		{"another one", situation{stored: b, served: a, settled: true, fresh: true, configs: []seen{config(a, long)}}, keepServed, 0},
		{"another one that clients trust", situation{stored: b, served: a, settled: true, fresh: true, configs: []seen{config(b, long)}}, keep, 12 * time.Minute},
		{"joined a moment ago", situation{stored: joined, settled: true, configs: []seen{config(joined, time.Minute)}}, keep, time.Minute},
		{"joined long ago", situation{stored: joined, settled: true, configs: []seen{config(joined, long)}}, issueLeaf, 0},
		{"joined, one is late", situation{stored: joined, settled: true, configs: []seen{config(joined, long), config(joined, 0)}}, keep, p.Overlap},
		{"joined, one unknown", situation{stored: joined, settled: true, configs: []seen{config(joined, long), {name: "y"}}}, keep, p.Overlap},
		{"joined, one absent", situation{stored: joined, settled: true, configs: []seen{config(joined, long), absent}}, issueLeaf, 0},
		{"issued a moment ago", situation{stored: issuedBoth, settled: true, rotatedSince: now, configs: []seen{config(joined, long)}}, keep, p.Overlap},
		{"issued long ago", situation{stored: issuedBoth, settled: true, rotatedSince: now.Add(-long), configs: []seen{config(joined, long)}}, tidyUp, 0},
		{"leaf due", situation{stored: whole(now.Add(-13 * time.Minute)), settled: true, configs: []seen{absent}}, issueLeaf, 0},
		{"at rest", situation{stored: a, settled: true, configs: []seen{config(a, long)}}, keep, 12 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, wait := next(now, c.s, p)
			if got.kind != c.want || (wait-c.wait).Abs() > time.Second {
				t.Errorf("%s (%s) for %s, want %s for %s", got.kind, got.why, wait, c.want, c.wait)
			}
		})
	}
}

func TestAPolicyThatCannotWorkIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Policy){
		"need a service":     func(p *Policy) { p.Service = "" },
		"is shorter than 1s": func(p *Policy) { p.Overlap = time.Millisecond },
		"never be served":    func(p *Policy) { p.RotateBefore = p.Validity },
		"less than 3":        func(p *Policy) { p.RotateBefore = p.Overlap },
		"cannot issue":       func(p *Policy) { p.Validity = 2 * p.CAValidity },
		"less than 4":        func(p *Policy) { p.CAValidity = p.Validity },
	} {
		p := shortPolicy()
		change(&p)
		if _, err := NewOwn(OwnConfig{Policy: p}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	p, err := Policy{Service: "hook", Namespace: "ns"}.complete()
	if err != nil || p.Validity != DefaultValidity || p.RotateBefore != DefaultValidity/3 {
		t.Errorf("%+v, %v", p, err)
	}
}
