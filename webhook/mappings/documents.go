package mappings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"sigs.k8s.io/yaml"
)

// Document is one document of a file.
type Document struct {
	number int // from 1
	line   int // where it begins, from 1
	first  int // of the text, from 1
	text   []byte
}

// byteOrderMark begins the files of some editors. In files that were joined it begins a line within.
var byteOrderMark = []byte("\ufeff")

// Documents takes a YAML stream apart. A line that begins with --- begins a document, one that begins with ... ends one;
// neither can stand at the beginning of a line within a document. What holds nothing but comments is passed over, but
// counted. A byte order mark at the beginning of a line is dropped.
func Documents(text []byte) []Document {
	var docs []Document
	d := Document{number: 1, line: 1}
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
		line = bytes.TrimPrefix(line, byteOrderMark)
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
		if directive && blank {
			line = []byte("\n")
		}
		if len(d.text) == 0 {
			d.first = n
		}
		d.text = append(d.text, line...)
	}
	flush()
	return docs
}

func marker(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// Values gives what a document holds as JSON: one value of YAML, or any number of JSON objects one after the other, as
// many tools write them. Lines in its error are the file's.
func (d Document) Values() ([][]byte, error) {
	if text := bytes.TrimSpace(d.text); text[0] == '{' {
		if values, ok := objects(text); ok {
			return values, nil
		}
	}
	// Strict: a key that is there twice is an error. Without a target: a number stays one, as it does for kubectl, and
	// is no id then.
	value, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		return nil, d.inFile(err)
	}
	if string(value) == "null" {
		return nil, nil
	}
	return [][]byte{value}, nil
}

// yamlLine is where a message of the YAML reader has a line of the text that it was given.
var yamlLine = regexp.MustCompile(`(?m)^(yaml: |  )line (\d+):`)

// inFile gives a message of the YAML reader the file's lines.
func (d Document) inFile(err error) error {
	text := yamlLine.ReplaceAllStringFunc(err.Error(), func(found string) string {
		m := yamlLine.FindStringSubmatch(found)
		n, _ := strconv.Atoi(m[2]) // digits, of a line that there is
		return fmt.Sprintf("%sline %d:", m[1], n+d.first-1)
	})
	if at := bytes.Index(d.text, byteOrderMark); at >= 0 {
		line := d.first + bytes.Count(d.text[:at], []byte("\n"))
		text += fmt.Sprintf("; there is a byte order mark within line %d: was another file joined on there?", line)
	}
	return errors.New(text)
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

func (d Document) String() string { return fmt.Sprintf("document %d (line %d)", d.number, d.line) }
