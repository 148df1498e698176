package mappings

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// document is one document of a file.
type document struct {
	number int // from 1
	line   int // where it begins, from 1
	text   []byte
}

// split takes a YAML stream apart. A line that begins with --- begins a document, one that begins with ... ends one;
// neither can stand at the beginning of a line within a document. What holds nothing but comments is passed over, but
// counted.
func split(text []byte) []document {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	var docs []document
	d := document{number: 1, line: 1}
	blank, opened := true, false
	flush := func() {
		if !blank {
			docs = append(docs, d)
		}
		if !blank || opened {
			d.number++
		}
		d.text, blank = nil, true
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		switch {
		case marker(line, "---"):
			flush()
			d.line, opened = n, true
			line = bytes.TrimLeft(line[3:], " \t") // a tab would begin no token
		case marker(line, "..."):
			flush()
			opened = false
			continue
		}
		directive := bytes.HasPrefix(line, []byte("%"))
		if rest := bytes.TrimSpace(line); len(rest) > 0 && rest[0] != '#' && !directive {
			if blank && !opened {
				d.line = n
			}
			blank = false
		}
		if !directive || !blank {
			d.text = append(d.text, line...)
		}
	}
	flush()
	return docs
}

func marker(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// values gives what a document holds as JSON: one value of YAML, or any number of JSON objects one after the other, as
// many tools write them.
func (d document) values() ([][]byte, error) {
	if text := bytes.TrimSpace(d.text); text[0] == '{' {
		if values, ok := objects(text); ok {
			return values, nil
		}
	}
	// Strict: a key that is there twice is an error. Without a target: a number stays one, as it does for kubectl, and
	// is no id then.
	value, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		return nil, err
	}
	if string(value) == "null" {
		return nil, nil
	}
	return [][]byte{value}, nil
}

func objects(text []byte) (values [][]byte, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	for dec.More() {
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, false
		}
		values = append(values, value)
	}
	return values, true
}

func (d document) String() string { return fmt.Sprintf("document %d (line %d)", d.number, d.line) }
