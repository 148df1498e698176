package familytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // a flag of go test

// Compare wants a golden file to be this text.
func Compare(t testing.TB, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it; read it before you commit it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// CompareOrNone is Compare where there is no file for an empty text.
func CompareOrNone(t testing.TB, file, got string) {
	t.Helper()
	if *update && got == "" {
		os.Remove(file)
	}
	if _, err := os.Stat(file); got == "" && errors.Is(err, fs.ErrNotExist) {
		return
	}
	Compare(t, file, got)
}

// JSON is a value as discover -o json prints it.
func JSON(t testing.TB, v any) string {
	t.Helper()
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// Lines is a list, a thing a line, each after a label: "left out: …".
func Lines[T any](label string, list []T) string {
	var text strings.Builder
	for _, thing := range list {
		fmt.Fprintf(&text, "%s: %v\n", label, thing)
	}
	return text.String()
}

// Findings are Lines of what the doctor says, each with its remedy below.
func Findings(label, indent string, list []plugin.Finding) string {
	var text strings.Builder
	for _, f := range list {
		fmt.Fprintf(&text, "%s: %s: %s\n%s%s\n", label, f.Path, f.Reason, indent, f.Remedy)
	}
	return text.String()
}
