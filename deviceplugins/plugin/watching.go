package plugin

import (
	"slices"
	"time"
)

// follow asks the family what to watch and does it; more reports that something new has come into view.
func (s *scanner) follow() (more bool) {
	watcher, ok := s.family.(Watcher)
	if !ok {
		return false
	}
	var next Watch
	if !s.off.Load() {
		next = watcher.Watch()
	}
	paths := map[string]bool{}
	for _, f := range next.Folders {
		paths[f.Path] = true
		known, tried := s.subs[f.Path]
		if known != nil || s.folders == nil {
			continue
		}
		sub, err := s.folders.Add(f, func(string) { s.trigger("folder", time.Now()) })
		if s.subs[f.Path] = sub; err == nil {
			more = true
		} else if !tried {
			s.log.WithError(err).Warn("folder is not watched, only looked at with the audits")
		}
	}
	for path, sub := range s.subs {
		if !paths[path] {
			delete(s.subs, path)
			if sub != nil {
				sub.Close()
			}
		}
	}
	s.mu.Lock()
	same := slices.Equal(next.Values, s.watch.Values)
	if !slices.Equal(next.Queries, s.watch.Queries) {
		s.queries = newValues(next.Queries)
	}
	more = more || !same || len(next.Subsystems) > len(s.watch.Subsystems)
	s.watch = next
	if !same {
		s.values = newValues(next.Values)
	}
	s.mu.Unlock()
	s.engine.setPace()
	return more
}

// stir compares the family's values with those before the last scan and asks for one where they differ. A family that
// names no values is scanned instead while it has devices, and one whose scan failed until it does not.
func (s *scanner) stir(now time.Time, buf []byte) {
	s.mu.Lock()
	values, before := s.values, s.print
	queries, paths, answered := s.queries, s.watch.Queries, s.watch.Answered
	busy := !s.state.Scanning.IsZero() || s.pending != nil
	scan := len(values)+len(queries) == 0 && s.state.Devices > 0 || s.state.Err != nil
	s.mu.Unlock()
	again := false
	for i, q := range queries {
		if busy {
			break
		}
		content, err := q.ask(buf)
		again = answered(paths[i], content, err) || again
	}
	switch {
	case busy:
	case scan:
		s.trigger("audit", now)
	case again:
		s.trigger("value", now)
	case len(values) > 0 && fingerprint(values, buf) != before: // a scan that began meanwhile costs one scan too many
		s.trigger("value", now)
	}
}

// review asks for the rarer scan of what the audits do not cover: a family without devices that names no values, and
// things that could not be read.
func (s *scanner) review(now time.Time) {
	s.mu.Lock()
	due := len(s.values)+len(s.queries) == 0 && s.state.Devices == 0 || len(s.state.Skipped) > 0
	s.mu.Unlock()
	if due {
		s.trigger("audit", now)
	}
}
