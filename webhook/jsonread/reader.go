package jsonread

import (
	"encoding/json"
	"fmt"
	"unsafe"
)

// maxDepth is how deep values may be nested. Kubernetes' objects have some twenty levels; it bounds our stack.
const maxDepth = 300

// Kind is what a value is.
type Kind byte

// The kinds. End is no value: the text ends here, or what stands here is no JSON.
const (
	End Kind = iota
	Null
	Bool
	Number
	Text
	Array
	Object
)

func (k Kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

// SyntaxError says where a text is no JSON.
type SyntaxError struct {
	At   int // bytes before it
	What string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("no JSON at byte %d: %s", e.At, e.What) }

// TypeError says that a value is not what was to be read. Nothing has been read then.
type TypeError struct{ Got, Want Kind }

func (e *TypeError) Error() string { return "is " + e.Got.String() + ", not " + e.Want.String() }

// Reader reads a text. It is not safe for concurrent use; what it returns is part of the text where that is possible.
type Reader struct {
	text  []byte
	at    int
	depth int
}

// New stands before a text's value. The text must not be changed while what was read of it is used.
func New(text []byte) *Reader { return &Reader{text: text} }

// Reset makes the reader stand before another text.
func (r *Reader) Reset(text []byte) { *r = Reader{text: text} }

// Mark is a place to which Back returns.
type Mark struct{ at, depth int }

// Mark gives the reader's place.
func (r *Reader) Mark() Mark { return Mark{r.at, r.depth} }

// Back returns to a place before: to the value that stood there.
func (r *Reader) Back(m Mark) { r.at, r.depth = m.at, m.depth }

// Since gives the text from a place before to here.
func (r *Reader) Since(m Mark) []byte { return r.text[m.at:r.at] }

// End tells whether the text ends where its value does.
func (r *Reader) End() error {
	if r.space(); r.at < len(r.text) {
		return r.wrong("something follows the value")
	}
	return nil
}

func (r *Reader) wrong(what string) error {
	if r.at >= len(r.text) {
		what = "the text ends too early"
	}
	return &SyntaxError{min(r.at, len(r.text)), what}
}

func (r *Reader) space() { r.at = space(r.text, r.at) }

// Kind tells what stands here, by its first byte.
func (r *Reader) Kind() Kind {
	r.space()
	if r.at >= len(r.text) {
		return End
	}
	switch c := r.text[r.at]; c {
	case '{':
		return Object
	case '[':
		return Array
	case '"':
		return Text
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	default:
		if c == '-' || c-'0' <= 9 {
			return Number
		}
	}
	return End
}

// want makes sure that a value of a kind stands here.
func (r *Reader) want(k Kind) error {
	switch got := r.Kind(); got {
	case k:
		return nil
	case End:
		return r.wrong(noValue)
	default:
		return &TypeError{got, k}
	}
}

// Skip reads over a value.
func (r *Reader) Skip() error {
	end, what := skip(r.text, r.at, r.depth)
	r.at = end
	if what != "" {
		return r.wrong(what)
	}
	return nil
}

// Raw reads over a value and gives its text.
func (r *Reader) Raw() ([]byte, error) {
	r.space()
	from := r.at
	if err := r.Skip(); err != nil {
		return nil, err
	}
	return r.text[from:r.at], nil
}

// Text reads a string.
func (r *Reader) Text() ([]byte, error) {
	if err := r.want(Text); err != nil {
		return nil, err
	}
	return r.string()
}

// String reads a string, as Text does. Where that is possible it is the text's own memory, like everything here.
func (r *Reader) String() (string, error) {
	b, err := r.Text()
	return Alias(b), err
}

// Alias is a key as a string, in the text's own memory.
func Alias(key []byte) string { return unsafe.String(unsafe.SliceData(key), len(key)) }

// string reads a string whose quote stands here.
func (r *Reader) string() ([]byte, error) {
	from := r.at
	end, odd, what := skipString(r.text, from+1)
	r.at = end
	if what != "" {
		return nil, r.wrong(what)
	}
	if !odd {
		return r.text[from+1 : end-1], nil
	}
	var s string
	if err := json.Unmarshal(r.text[from:end], &s); err != nil {
		return nil, &SyntaxError{from, err.Error()}
	}
	return []byte(s), nil
}

// enter goes one level down, over the opening bracket.
func (r *Reader) enter(k Kind) error {
	if err := r.want(k); err != nil {
		return err
	}
	if r.depth++; r.depth > maxDepth {
		return r.wrong(tooDeep)
	}
	r.at++
	r.space()
	return nil
}

// Object visits the members of an object, in their order, the reader standing before the member's value each time.
// What visit does not read is skipped. An error of visit ends the visit and leaves the reader where it is.
func (r *Reader) Object(visit func(key []byte) error) error {
	if err := r.enter(Object); err != nil {
		return err
	}
	if r.here('}') {
		r.leave()
		return nil
	}
	for {
		r.space()
		if !r.here('"') {
			return r.wrong(noName)
		}
		key, err := r.string()
		if err != nil {
			return err
		}
		if r.space(); !r.here(':') {
			return r.wrong(noColon)
		}
		r.at++
		from := r.at
		if err := visit(key); err != nil {
			return err
		}
		more, err := r.next(from, '}')
		if err != nil || !more {
			return err
		}
	}
}

// Array visits the elements of an array in the same way.
func (r *Reader) Array(visit func(i int) error) error {
	if err := r.enter(Array); err != nil {
		return err
	}
	if r.here(']') {
		r.leave()
		return nil
	}
	for i := 0; ; i++ {
		from := r.at
		if err := visit(i); err != nil {
			return err
		}
		more, err := r.next(from, ']')
		if err != nil || !more {
			return err
		}
	}
}

func (r *Reader) here(c byte) bool { return r.at < len(r.text) && r.text[r.at] == c }

func (r *Reader) leave() {
	r.at++
	r.depth--
}

// next goes over what follows a member that began at from, and over the member if nobody has read it. Kind and a read
// of another type may have gone over its white space.
func (r *Reader) next(from int, end byte) (more bool, err error) {
	if r.at == from || r.at == space(r.text, from) {
		if err := r.Skip(); err != nil {
			return false, err
		}
	}
	switch r.space(); {
	case r.here(','):
		r.at++
		return true, nil
	case r.here(end):
		r.leave()
		return false, nil
	}
	return false, r.wrong(noSeparator)
}
