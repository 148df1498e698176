package fpga

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/fpga/earlier"
)

// predecessor is what is known of another FPGA device plugin on this node: the one that was there before, and maybe still
// is. It gives out the same hardware, so while it runs the node is not ready, and both the log and /readyz say why.
type predecessor struct {
	sockets earlier.Sockets
	told    bool                 // what it left behind is in the log
	placed  bool                 // this process has put its CDI files in place before
	written map[string]time.Time // files that somebody has written anew since, and when that was seen
}

// writing is how long a file that was written anew counts as a sign that its writer runs.
const writing = 10 * time.Minute

// tell reports the signs of one scan, those that running gave before it among them. replaced are the CDI files that this
// scan took over from it.
func (p *predecessor) tell(s *scan, signs []earlier.Sign, replaced []string) {
	log := s.c.Log
	for _, name := range replaced {
		if !p.placed {
			log.WithField("file", name).Info("the CDI file of an earlier FPGA plugin is taken over: containers that it allocated to do not start again")
			continue
		}
		if p.written == nil {
			p.written = map[string]time.Time{}
		}
		if _, known := p.written[name]; !known {
			signs = append(signs, earlier.Rewritten(filepath.Join(s.c.CDIDir, name)))
		}
		p.written[name] = time.Now()
	}
	if !s.c.readOnly {
		if !p.told {
			for _, sign := range earlier.Leftovers(s.c.Root) {
				log.WithField("remedy", sign.Remedy).Warnf("%s: %s", sign.Path, sign.Reason)
			}
		}
		p.told, p.placed = true, true
	}
	for _, sign := range signs {
		s.skip(sign.Path, "%s", sign.Reason)
	}
	if len(signs) > 0 || p.sockets.Unsure() {
		s.unsettled = true // no event tells that a process has ended, or that it answers now
	}
}

// running gives a sign for all that only a plugin does which runs.
func (p *predecessor) running(ctx context.Context, c Config) []earlier.Sign {
	var signs []earlier.Sign
	if c.Plugins != "" {
		p.sockets.Limit = c.probeLimit
		signs = p.sockets.Served(ctx, c.Plugins)
	}
	for _, name := range slices.Sorted(maps.Keys(p.written)) {
		if time.Since(p.written[name]) >= writing {
			delete(p.written, name)
			continue
		}
		signs = append(signs, earlier.Rewritten(filepath.Join(c.CDIDir, name)))
	}
	return signs
}
