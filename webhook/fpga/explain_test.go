package fpga_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/inlay-project/inlay/webhook/fpga"
)

var update = flag.Bool("update", false, "write the expected texts anew")

// Each file of testdata/explain is a pod's spec and the text about it, with the mappings of ns1.
func TestExplainIsForReaders(t *testing.T) {
	files, err := filepath.Glob("testdata/explain/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := view(t, pod(t, string(a.Files[0].Data)))
			o := fpga.Options{ModeAffinity: true}
			var text strings.Builder
			v := fpga.Explain(&text, p, "ns1", ns1(), o)
			for i := range v.Containers {
				v.Containers[i].Asks, v.Containers[i].Uses = nil, nil // for readers only
			}
			if diff := cmp.Diff(fpga.Translate(p, "ns1", ns1(), o), v); diff != "" {
				t.Errorf("not the verdict of Translate (-want +got)\n%s", diff)
			}
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: "explained", Data: []byte(text.String())})
				if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(a.Files) < 2 {
				t.Fatal("no expected text; run with -update")
			}
			if diff := cmp.Diff(string(a.Files[1].Data), text.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestExplainQuotesWhatATerminalWouldObey(t *testing.T) {
	raw := []byte(`{"metadata":{"name":"\u001b[2J"},"spec":{"containers":[{"name":"a\nallowed","resources":{"limits":{"fpga.intel.com/\u001b]0;x":"1\u001b"}},"env":[{"name":"FPGA_AFU\u001b"}]}]}}`)
	var text strings.Builder
	v := fpga.Explain(&text, view(t, raw), "ns\x1b", ns1(), fpga.Options{})
	if strings.ContainsRune(text.String()+v.Denied, '\x1b') || strings.Contains(text.String(), "\nallowed") {
		t.Errorf("%q", text.String())
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestExplainToNobodyIsStillAVerdict(t *testing.T) {
	if v := fpga.Explain(closedPipe{}, view(t, usualPod(t)), "ns1", nil, fpga.Options{}); v.Denied == "" {
		t.Error("allowed without a mapping")
	}
}
