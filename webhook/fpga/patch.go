package fpga

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/inlay-project/inlay/webhook/jsonread"
)

// Operation is one step of a JSON patch (RFC 6902).
type Operation struct {
	Op   string `json:"op"` // add, remove or replace
	Path string `json:"path"`
	// Value is a string or a json.RawMessage; nil for a removal.
	Value any `json:"value,omitempty"`
}

// MarshalPatch writes the patch as JSON; null if there is none.
func (v Verdict) MarshalPatch() ([]byte, error) { return v.AppendPatch(nil) }

// AppendPatch appends what MarshalPatch writes.
func (v Verdict) AppendPatch(b []byte) ([]byte, error) {
	if len(v.Patch) == 0 {
		return append(b, "null"...), nil
	}
	var err error
	for i, o := range v.Patch {
		b = append(b, "[,"[min(i, 1)])
		if b, err = o.append(b); err != nil {
			return nil, fmt.Errorf("patch: operation %d (%s %s): %w", i, o.Op, o.Path, err)
		}
	}
	return append(b, ']'), nil
}

func (o Operation) append(b []byte) ([]byte, error) {
	b = append(b, `{"op":"`...)
	b = append(b, o.Op...)
	b = append(b, `","path":`...)
	b = jsonread.AppendString(b, o.Path)
	if o.Value == nil {
		return append(b, '}'), nil
	}
	b = append(b, `,"value":`...)
	switch v := o.Value.(type) {
	case string:
		b = jsonread.AppendString(b, v)
	case json.RawMessage:
		b = append(b, v...)
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		b = append(b, text...)
	}
	return append(b, '}'), nil
}

func (v Variable) append(b []byte) []byte {
	b = append(b, `{"name":`...)
	b = jsonread.AppendString(b, v.Name)
	b = append(b, `,"value":`...)
	b = jsonread.AppendString(b, v.Value)
	return append(b, '}')
}

// escape writes a key as a part of a JSON pointer.
func escape(key string) string {
	if !strings.ContainsAny(key, "~/") {
		return key
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
