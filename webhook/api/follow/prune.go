package follow

import (
	"encoding/json"
	"io"
)

// longKey is how long the key of a member may be, in bytes, that is kept.
const longKey = 512

// pruned passes JSON texts on, one after the other, without the members of objects whose key keep refuses. What it drops
// is in nobody's memory, however large it is. What is no JSON is passed on as it is, for the reader to find out.
type pruned struct {
	io.ReadCloser
	keep func(key string) bool

	in  [4 << 10]byte
	out []byte // to be read
	gap int    // so many bytes of out were read
	err error  // of the reader, once out is read

	state   func(p *pruned, c byte)
	open    []level // the objects and lists that the reader is in
	key     []byte  // as it is written, without its quotes
	escaped bool    // a backslash stands before the next byte
	dropped int     // objects and lists that the reader is in, of a value that is dropped
}

// level is an object or a list.
type level struct {
	list bool
	some bool // a member was passed on
}

func prune(r io.ReadCloser, keep func(key string) bool) io.ReadCloser {
	return &pruned{ReadCloser: r, keep: keep, state: (*pruned).value}
}

// Read implements io.Reader.
func (p *pruned) Read(b []byte) (int, error) {
	for p.gap == len(p.out) {
		if p.err != nil {
			return 0, p.err
		}
		p.out, p.gap = p.out[:0], 0
		var n int
		n, p.err = p.ReadCloser.Read(p.in[:])
		for _, c := range p.in[:n] {
			p.state(p, c)
		}
	}
	n := copy(b, p.out[p.gap:])
	p.gap += n
	return n, nil
}

func (p *pruned) pass(c byte) { p.out = append(p.out, c) }

// strange is for what is no JSON.
func (p *pruned) strange(c byte) {
	p.pass(c)
	p.state = (*pruned).pass
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// value stands before a value, or before the end of an empty list.
func (p *pruned) value(c byte) {
	p.pass(c)
	switch {
	case space(c):
	case c == '{':
		p.open = append(p.open, level{})
		p.state = (*pruned).member
	case c == '[':
		p.open = append(p.open, level{list: true})
	case c == '"':
		p.state = (*pruned).text
	case c == ']' && len(p.open) > 0:
		p.out = p.out[:len(p.out)-1]
		p.after(c)
	default:
		p.state = (*pruned).scalar
	}
}

// text is in a string that is passed on.
func (p *pruned) text(c byte) {
	p.pass(c)
	if p.ends(c) {
		p.state = (*pruned).after
	}
}

// ends tells whether c ends a string.
func (p *pruned) ends(c byte) bool {
	if p.escaped {
		p.escaped = false
		return false
	}
	p.escaped = c == '\\'
	return c == '"'
}

// scalar is in a number or a word.
func (p *pruned) scalar(c byte) {
	switch {
	case space(c), c == ',', c == '}', c == ']', c == '"', c == '{', c == '[': // the last three begin another text
		p.state = (*pruned).after
		p.after(c)
	default:
		p.pass(c)
	}
}

// after stands behind a value.
func (p *pruned) after(c byte) {
	last := len(p.open) - 1
	switch {
	case last < 0:
		p.state = (*pruned).value
		p.value(c)
	case space(c):
	case c == ',' && p.open[last].list:
		p.pass(c)
		p.state = (*pruned).value
	case c == ',':
		p.state = (*pruned).member
	case c == ']' && p.open[last].list, c == '}' && !p.open[last].list:
		p.pass(c)
		p.open = p.open[:last]
		p.state = (*pruned).after
	default:
		p.strange(c)
	}
}

// member stands before a key, or before the end of an empty object.
func (p *pruned) member(c byte) {
	switch {
	case space(c):
	case c == '"':
		p.key = p.key[:0]
		p.state = (*pruned).name
	case c == '}':
		p.after(c)
	default:
		p.strange(c)
	}
}

// name is in a key.
func (p *pruned) name(c byte) {
	if p.ends(c) {
		p.state = (*pruned).colon
	} else if len(p.key) <= longKey {
		p.key = append(p.key, c)
	}
}

// colon stands behind a key.
func (p *pruned) colon(c byte) {
	switch {
	case space(c):
	case c != ':':
		p.strange(c)
	case !p.kept():
		p.state = (*pruned).drop
	default:
		l := &p.open[len(p.open)-1]
		if l.some {
			p.pass(',')
		}
		l.some = true
		p.pass('"')
		p.out = append(p.out, p.key...)
		p.out = append(p.out, '"', ':')
		p.state = (*pruned).value
	}
}

func (p *pruned) kept() bool {
	if len(p.key) > longKey {
		return false
	}
	var key string
	err := json.Unmarshal(append(append([]byte{'"'}, p.key...), '"'), &key)
	return err != nil || p.keep(key) // the reader finds out
}

// drop stands before a value that is dropped, or between those in it.
func (p *pruned) drop(c byte) {
	switch {
	case space(c), c == ',' && p.dropped > 0, c == ':' && p.dropped > 0:
	case c == '"':
		p.state = (*pruned).dropText
	case c == '{', c == '[':
		p.dropped++
	case (c == '}' || c == ']') && p.dropped > 0:
		p.dropped--
		p.dropEnds()
	default:
		p.state = (*pruned).dropScalar
		p.dropScalar(c)
	}
}

func (p *pruned) dropText(c byte) {
	if p.ends(c) {
		p.dropEnds()
	}
}

func (p *pruned) dropScalar(c byte) {
	if c == ',' || c == '}' || c == ']' || space(c) {
		p.dropEnds()
		p.state(p, c)
	}
}

// dropEnds stands behind a value that was dropped, or behind one in it.
func (p *pruned) dropEnds() {
	if p.state = (*pruned).after; p.dropped > 0 {
		p.state = (*pruned).drop
	}
}
