package qat

import (
	"strings"
	"testing"
)

func TestServicesEnabledOfADriversConfiguration(t *testing.T) {
	for text, want := range map[string]string{
		"[GENERAL]\nServicesEnabled = sym;asym\n":                                              "sym;asym",
		"[GENERAL]\r\nServicesEnabled=dc\r\n":                                                  "dc",
		"\n# a comment\n; another\n[GENERAL]\n  ServicesEnabled =  sym;dc  \nX=1":              "sym;dc",
		"[GENERAL]\nServicesEnabled = \"asym;dc\"\n\x00":                                       "asym;dc",
		"[GENERAL]\nServicesEnabled =\n":                                                       "",
		"[A]\nServicesEnabled = a\n[GENERAL]\nServicesEnabled = b\n[C]\nServicesEnabled = c\n": "b",
		"[GENERAL]\n;ServicesEnabled = dc\n":                                                   "none",
		"[KERNEL]\nServicesEnabled = dc\n":                                                     "none",
		"ServicesEnabled = dc\n":                                                               "none",
		"[GENERAL]\nServiceEnabled = dc\n":                                                     "none",
		"[GENERAL]\nServicesEnabled dc\n":                                                      "none",
		"":                                                                                     "none",
	} {
		got, found := servicesEnabled([]byte(text))
		if !found {
			got = "none"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzServicesKind(f *testing.F) {
	for _, s := range []string{"sym;asym", "dc;sym", "", ";", "a;b;c;d", "sym;\xff", strings.Repeat("z;", 50)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, services string) {
		got, err := ServicesKind(services)
		if err == nil && (got == "" || len(got) > maxKind || strings.Trim(got, "-") != got || strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789-") != "") {
			t.Errorf("%q: %q is no resource name", services, got)
		}
		if again, _ := ServicesKind(got); err == nil && again != got {
			t.Errorf("%q: %q, and of that %q", services, got, again)
		}
		words := strings.Split(services, ";")
		for i, j := 0, len(words)-1; i < j; i, j = i+1, j-1 {
			words[i], words[j] = words[j], words[i]
		}
		if back, backErr := ServicesKind(strings.Join(words, ";")); back != got || (backErr == nil) != (err == nil) {
			t.Errorf("%q: %q, %v, backwards %q, %v", services, got, err, back, backErr)
		}
	})
}

func FuzzServicesEnabled(f *testing.F) {
	f.Add([]byte("[GENERAL]\nServicesEnabled = sym;asym\n"))
	f.Add([]byte("[GENERAL\nServicesEnabled = \"\n[]\n=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		services, found := servicesEnabled(text)
		if !found && services != "" || strings.ContainsAny(services, "\n") {
			t.Errorf("%q: %q, %v", text, services, found)
		}
		if found && !strings.Contains(string(text), "ServicesEnabled") {
			t.Errorf("%q: found", text)
		}
	})
}
