package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/deviceplugins/config"
)

// shown is a row of a page's table of flags, for one of its flags.
type shown struct{ page, flag, value string }

var (
	code     = regexp.MustCompile("`([^`]+)`")
	linked   = regexp.MustCompile(`\]\([^)]*\)`)
	flagName = regexp.MustCompile(`--([a-z][a-z0-9-]*[a-z0-9])`)
)

// flagTable reads the table "flag | default" of a family's page. A default that stands there once is that of all flags of
// its row, "the same" is that of the row before, and what follows ", or" is said of it and is not part of it.
func flagTable(t *testing.T, page, text string) []shown {
	t.Helper()
	var all []shown
	_, table, found := strings.Cut(text, "| flag | default | |\n|---|---|---|\n")
	if !found {
		return nil
	}
	before := ""
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 {
			break
		}
		names := flagName.FindAllStringSubmatch(cells[1], -1)
		cell, _, _ := strings.Cut(strings.ReplaceAll(cells[2], "`", ""), ", or")
		if cell = strings.TrimSpace(cell); cell == "the same" {
			cell = before
		}
		before = cell
		values := strings.Split(cell, ", ")
		if len(values) == 1 {
			values = slices.Repeat(values, len(names))
		}
		if len(values) != len(names) || len(names) == 0 {
			t.Errorf("%s: %d defaults for %d flags: %s", page, len(values), len(names), line)
			continue
		}
		for i, n := range names {
			all = append(all, shown{page, n[1], values[i]})
		}
	}
	return all
}

// asDefault is a default as the pages write it.
func asDefault(f *pflag.Flag) string {
	if d, err := time.ParseDuration(f.DefValue); err == nil && f.Value.Type() == "duration" {
		for _, zero := range []string{"m0s", "h0m"} {
			if text := d.String(); strings.HasSuffix(text, zero) {
				return strings.TrimSuffix(text, zero[1:])
			}
		}
		return d.String()
	}
	if f.Value.Type() == "stringSlice" {
		return strings.Trim(f.DefValue, "[]")
	}
	return f.DefValue
}

// Q9: the pages of the reference name flags that its programs do not have.
func TestTheFamiliesPagesNameTheFlagsThatThereAreAndTheirDefaults_Q9(t *testing.T) {
	t.Setenv("PODS_PER_CORE", "")
	cmd, _ := newCommand()
	flags := cmd.PersistentFlags()
	pages, err := filepath.Glob("*/README.md")
	if err != nil || len(pages) < 7 {
		t.Fatalf("%v, %v", pages, err)
	}
	explained := map[string]string{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range flagTable(t, page, string(text)) {
			explained[row.flag] = row.page
			switch f := flags.Lookup(row.flag); {
			case f == nil:
				t.Errorf("%s: there is no flag --%s", page, row.flag)
			case asDefault(f) != row.value:
				t.Errorf("%s: --%s is %q where nobody sets it, the page says %q", page, row.flag, asDefault(f), row.value)
			}
		}
	}
	own := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	settings := config.Default()
	settings.AddFlags(own)
	folder := map[string]string{"dsa": "idxd", "iaa": "idxd"}
	own.VisitAll(func(f *pflag.Flag) {
		family, _, _ := strings.Cut(f.Name, "-")
		if !slices.Contains(config.Known(), family) {
			return // of all families, on docs/configure.md
		}
		page := family + "/README.md"
		if folder[family] != "" {
			page = folder[family] + "/README.md"
		}
		if explained[f.Name] != page {
			t.Errorf("%s has no row for --%s", page, f.Name)
		}
	})
}

// foreign are flags of other programs, in commands that the pages of the families show.
var foreign = []string{
	"subsystem-match", "action", // udevadm
	"type", "driver-name", // accel-config
}

// Q9: also in a sentence, and as a variable, and wherever else in the documentation a family's flag is named.
func TestNoPageNamesAFlagThatThereIsNot_Q9(t *testing.T) {
	cmd, _ := newCommand()
	families := strings.Join(config.Known(), "|")
	ofFamily := regexp.MustCompile(`--((?:` + families + `)-[a-z-]*[a-z])`)
	variable := regexp.MustCompile(`INLAY_((?:` + strings.ToUpper(families) + `)_[A-Z_]*[A-Z])`)
	own, err := filepath.Glob("*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	others, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, page := range slices.Concat(own, others, []string{"../README.md", "../CHANGELOG.md", "../deploy/helm/inlay/README.md"}) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text = linked.ReplaceAll(text, nil)
		var names []string
		for _, m := range ofFamily.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		for _, m := range variable.FindAllStringSubmatch(string(text), -1) {
			names = append(names, strings.ToLower(strings.ReplaceAll(m[1], "_", "-")))
		}
		if slices.Contains(own, page) {
			for _, span := range code.FindAllStringSubmatch(string(text), -1) {
				for _, m := range flagName.FindAllStringSubmatch(span[1], -1) {
					if !slices.Contains(foreign, m[1]) {
						names = append(names, m[1])
					}
				}
			}
		}
		n += len(names)
		for _, name := range names {
			if cmd.PersistentFlags().Lookup(name) == nil {
				t.Errorf("%s: there is no flag --%s", page, name)
			}
		}
	}
	if n < 50 {
		t.Errorf("%d names: they are not found", n)
	}
}

// What docs/configure.md says of those who come from Intel's plugins: what those took and this does not.
func TestWhatIntelsPluginsTookAndThisDoesNot(t *testing.T) {
	for _, tt := range []struct {
		was, ours string // ours is taken, was is not
	}{
		{"-gpu-shared-dev-num=10", "--gpu-shared-dev-num=10"},
		{"-shared-dev-num=10", "--dsa-shared-dev-num=10"},
		{"-v=4", "--log-level=debug"},
		{"--v=4", "--log-level=trace"},
		{"--vmodule=x=1", "--log-level=info"},
		{"--prefix=/host", "--host-root=/host"},
		{"--gpu-bypath=pci", "--gpu-bypath=single"},
		{"--gpu-shared-dev-num=10001", "--gpu-shared-dev-num=10000"},
		{"--npu-shared-dev-num=10001", "--npu-shared-dev-num=10000"},
		{"--dsa-shared-dev-num=1001", "--dsa-shared-dev-num=1000"},
		{"--iaa-shared-dev-num=1001", "--iaa-shared-dev-num=1000"},
		{"--sgx-enclave-limit=100001", "--sgx-enclave-limit=100000"},
		{"--sgx-provision-limit=100001", "--sgx-provision-limit=100000"},
		{"--qat-max-num-devices=0", "--qat-max-num-devices=1"},
	} {
		for arg, taken := range map[string]bool{tt.was: false, tt.ours: true} {
			cmd, _ := newCommand()
			err := cmd.ParseFlags([]string{arg})
			if err == nil {
				_, err = config.Read(nil, "", cmd.Flags())
			}
			if (err == nil) != taken {
				t.Errorf("%s: %v", arg, err)
			}
		}
	}
}
