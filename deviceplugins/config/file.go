package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	strict "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Version is the form of file that this program reads.
const Version = "v1"

// MaxFile bounds a file in bytes; a ConfigMap has no more.
const MaxFile = 1 << 20

// Read makes the settings of a node from a file's text and the flags that were given, by the command line or the
// environment. A nil text is no file; an empty one is a file with a mistake, as an editor or a full disk leaves it. node is
// the node's name; it may be empty, and then no override is for it.
func Read(text []byte, node string, given *pflag.FlagSet) (Settings, error) {
	s := Default()
	if text != nil {
		var err error
		if s, err = parse(text, node); err != nil {
			return Settings{}, err
		}
	}
	if err := s.overlay(given); err != nil {
		return Settings{}, err
	}
	if err := s.Validate(); err != nil {
		return Settings{}, fmt.Errorf("--%w", err)
	}
	return s.spread(), nil
}

// overlay takes the values of the flags that were given.
func (s *Settings) overlay(given *pflag.FlagSet) error {
	if given == nil {
		return nil
	}
	own := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	s.AddFlags(own)
	var errs []error
	own.VisitAll(func(f *pflag.Flag) {
		from := given.Lookup(f.Name)
		if from == nil || !from.Changed {
			return
		}
		into, isList := f.Value.(pflag.SliceValue)
		if list, ok := from.Value.(pflag.SliceValue); ok && isList {
			errs = append(errs, into.Replace(list.GetSlice()))
			return
		}
		errs = append(errs, f.Value.Set(from.Value.String()))
	})
	return errors.Join(errs...)
}

// parse reads a file for a node. Every override is read, whoever it is for.
func parse(text []byte, node string) (Settings, error) {
	none := Settings{}
	if len(text) > MaxFile {
		return none, fmt.Errorf("larger than %d bytes", MaxFile)
	}
	if err := oneDocument(text); err != nil {
		return none, err
	}
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return none, err
	}
	// The version first and alone: a file of another one may look different.
	var top map[string]json.RawMessage // nil for an empty document
	if err := json.Unmarshal(asJSON, &top); err != nil {
		return none, errors.New("it is not a list of <field>: <value>")
	}
	if err := checkVersion(top["version"]); err != nil {
		return none, err
	}
	var nodes []map[string]json.RawMessage
	if raw, ok := top["nodes"]; ok {
		if err := json.Unmarshal(raw, &nodes); err != nil {
			return none, errors.New("nodes: it is not a list of overrides")
		}
	}
	delete(top, "version")
	delete(top, "nodes")
	s := Default()
	if err := s.take(top); err != nil {
		return none, err
	}
	for i, override := range nodes {
		if s, err = s.override(override, node); err != nil {
			return none, fmt.Errorf("nodes[%d]: %w", i, err)
		}
	}
	return s, nil
}

func checkVersion(raw json.RawMessage) error {
	var version any
	if err := json.Unmarshal(raw, &version); err != nil || version == nil || version == "" {
		return fmt.Errorf("version: missing; it is %s for this program", Version)
	}
	if version == Version {
		return nil
	}
	if text, ok := version.(string); ok {
		return fmt.Errorf("version: %.40q is unknown, this program reads %s", text, Version)
	}
	return fmt.Errorf("version: %.40s is no version, write version: %s", raw, Version)
}

// oneDocument refuses what comes after a file's first document: the parser would not look at it. In YAML a line that
// begins with a marker ends a document whatever it is in the middle of.
func oneDocument(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8")
	}
	begun, ended := false, false
	for line := range strings.FieldsFuncSeq(strings.TrimPrefix(string(text), "\ufeff"), isBreak) {
		if marker := line[:min(3, len(line))]; marker == "---" || marker == "..." {
			if rest := line[3:]; rest == "" || rest[0] == ' ' || rest[0] == '\t' {
				ended, line = begun, rest
			}
		}
		line = strings.TrimLeft(line, " \t")
		switch {
		case line == "", line[0] == '#', line[0] == '%' && !begun: // nothing, a comment, a directive
		case ended:
			return errors.New("a second document begins in it, and only the first would be read")
		default:
			begun = true
		}
	}
	return nil
}

// isBreak tells what ends a line in YAML 1.1.
func isBreak(r rune) bool { return strings.ContainsRune("\n\r\u0085\u2028\u2029", r) }

// override gives the settings with those of one override, if it is for the node.
func (s Settings) override(fields map[string]json.RawMessage, node string) (Settings, error) {
	var names []string
	if err := json.Unmarshal(fields["names"], &names); err != nil || len(names) == 0 {
		return s, errors.New("names: missing; it lists names of nodes, or patterns such as gpu-*")
	}
	ours := false
	for _, pattern := range names {
		match, err := path.Match(pattern, node)
		if err != nil {
			return s, fmt.Errorf("names: %.80q is no pattern", pattern)
		}
		ours = ours || match && node != ""
	}
	delete(fields, "names")
	with := s.copied()
	if err := with.take(fields); err != nil {
		return s, err
	}
	if ours {
		return with, nil
	}
	return s, nil
}

// take reads fields over what is set and checks what comes of it.
func (s *Settings) take(fields map[string]json.RawMessage) error {
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	mistakes, err := strict.UnmarshalStrict(text, s)
	if err != nil {
		return err
	}
	if len(mistakes) > 0 {
		lines := make([]string, len(mistakes))
		for i, m := range mistakes {
			lines[i] = m.Error()
		}
		return errors.New(strings.Join(lines, "; "))
	}
	return s.Validate()
}

// YAML is the settings as a file of this version, for a person to read and for a program to read back.
func (s Settings) YAML() ([]byte, error) {
	return yaml.Marshal(struct {
		Version string `json:"version"`
		Settings
	}{Version, s})
}
