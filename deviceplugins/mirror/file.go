package mirror

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/atomicfile"
	"github.com/inlay-project/inlay/internal/policy"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// dateLayout has one width, so that a document's date can be replaced in place.
const dateLayout = "2006-01-02T15:04:05Z"

// document is a policy file's text: a line each namespace, everything sorted. It is kept between writes, because what
// changes from minute to minute is the date.
type document struct {
	text           []byte
	mappings, pods int
}

// mapping is an entry on its way into the text.
type mapping struct {
	name
	lead
	*source
}

// encode makes the text of all that is in step and of the limits of enclave memory, if somebody keeps them, without the
// date.
func (d *document) encode(sources []*source, enclaves *policy.EPC) {
	var all []mapping
	for _, s := range sources {
		if !s.joined {
			continue
		}
		for n, l := range s.entries {
			all = append(all, mapping{n, l, s})
		}
	}
	slices.SortFunc(all, func(a, b mapping) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.kind, b.kind), cmp.Compare(a.name.name, b.name.name),
			cmp.Compare(a.iface, b.iface))
	})
	d.mappings = len(all)
	d.text = fmt.Appendf(d.text[:0], `{"format":%d,"synced":"%s","namespaces":{`, policy.Format, dateLayout)
	for begin := 0; begin < len(all); {
		namespace, end := all[begin].namespace, begin
		var n policy.Namespace
		for ; end < len(all) && all[end].namespace == namespace; end++ {
			n = all[end].into(n)
		}
		if begin > 0 {
			d.text = append(d.text, ',')
		}
		d.text = append(d.text, '\n')
		d.value(namespace)
		d.text = append(d.text, ':')
		d.value(n)
		begin = end
	}
	d.text = append(d.text, "\n}"...)
	if d.pods = 0; enclaves != nil {
		d.enclaves(enclaves)
	}
	d.text = append(d.text, "}\n"...)
}

// enclaves adds a line each pod.
func (d *document) enclaves(e *policy.EPC) {
	d.pods = len(e.Pods)
	d.text = append(d.text, `,"epc":{"pods":{`...)
	for i, uid := range slices.Sorted(maps.Keys(e.Pods)) {
		if i > 0 {
			d.text = append(d.text, ',')
		}
		d.text = append(d.text, '\n')
		d.value(uid)
		d.text = append(d.text, ':')
		d.value(e.Pods[uid])
	}
	d.text = append(d.text, "\n}}"...)
}

func (m mapping) into(n policy.Namespace) policy.Namespace {
	if m.kind == v2.KindFpgaRegion {
		n.Regions = append(n.Regions, policy.Region{Name: m.name.name, Interface: string(m.iface)})
		return n
	}
	n.Functions = append(n.Functions, policy.Function{
		Name: m.name.name, Interface: string(m.iface), Function: string(m.function), Mode: policy.Mode(m.mode),
	})
	return n
}

func (d *document) value(v any) {
	b, _ := json.Marshal(v) // strings and numbers, and structures of them, always have a JSON form
	d.text = append(d.text, b...)
}

// date sets when the text was in step; downwards, since a later time would be a claim.
func (d *document) date(synced time.Time) {
	at := len(fmt.Sprintf(`{"format":%d,"synced":"`, policy.Format))
	copy(d.text[at:at+len(dateLayout)], synced.UTC().Format(dateLayout))
}

// put writes the file and makes its folder where it is missing. A file whose date alone is new may lose that in a power
// cut: then the folder is not waited for.
func put(file string, text []byte, changed bool) error {
	err := writeFile(file, text, changed)
	if err == nil {
		return nil
	}
	// Names of temporary files are not part of the reason: each try has another.
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return fmt.Errorf("%s cannot be written: %w", file, err)
}

func writeFile(file string, text []byte, changed bool) error {
	folder := filepath.Dir(file)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := atomicfile.Write(file, text, 0o600); err != nil || !changed {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // not every file system can
		return err
	}
	return nil
}

// writeEmpty writes a file that grants nothing, if there is none.
func (m *Mirror) writeEmpty() error {
	if _, err := os.Lstat(m.c.File); err == nil {
		return nil // whatever is there, it is not for a node without cards to replace it
	}
	var doc document
	doc.encode(nil, nil)
	doc.date(time.Now())
	err := m.put(m.c.File, doc.text, true)
	m.c.Observer.Written(err)
	if err == nil {
		m.c.Log.WithField("file", m.c.File).Info("no card was seen and there is no policy file: an empty one is written")
	}
	return err
}

// before looks at what an earlier process left, when the first card or SGX was seen: the age of its file is what counts
// until there is a new one. It gives the interface ids that the file has mappings of: those cards were seen by that
// process. p is nil if what is there cannot be used, and empty if there is nothing.
func (m *Mirror) before() (p *policy.Policy, ids []fpga.InterfaceID) {
	p, err := policy.Read(m.c.File, 0, time.Now())
	switch {
	case errors.Is(err, policy.ErrMissing):
		p = &policy.Policy{}
	case err != nil:
		m.c.Log.WithError(err).Warn("nothing is granted until the policy file is replaced: what is there cannot be used")
		m.c.Observer.Holds(time.Time{}, 0)
		sweep(m.c.File)
		return nil, nil
	}
	n := 0
	seen := map[fpga.InterfaceID]bool{}
	see := func(id string) {
		n++
		if known, err := fpga.ParseInterfaceID(id); err == nil && string(known) == id { // no mapping could lead to another
			seen[known] = true
		}
	}
	for _, ns := range p.Namespaces {
		for _, f := range ns.Functions {
			see(f.Interface)
		}
		for _, r := range ns.Regions {
			see(r.Interface)
		}
	}
	m.c.Observer.Holds(p.Synced, n)
	sweep(m.c.File)
	return p, slices.Sorted(maps.Keys(seen))
}

// sweep removes what processes left that were killed while they wrote.
func sweep(file string) {
	folder, base := filepath.Dir(file), filepath.Base(file)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, e := range entries {
		digits, ours := strings.CutPrefix(e.Name(), "."+base+".")
		if ours && digits != "" && strings.Trim(digits, "0123456789") == "" && e.Type().IsRegular() {
			_ = os.Remove(filepath.Join(folder, e.Name())) // it costs its few bytes, if it stays
		}
	}
}
