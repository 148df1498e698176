package modules

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const (
	mit = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software … The above copyright notice and this permission notice
shall be included in all copies or substantial portions of the Software.`
	isc = `Permission to use, copy, modify, and/or distribute this software for any
purpose with or without fee is hereby granted, provided that …`
	bsd2 = `// Redistribution and use in source and binary forms, with or without
// modification, are permitted provided that the following conditions are met: …`
	bsd3 = bsd2 + `
//    * Neither the name of the authors nor the names of its
// contributors may be used to endorse or promote products derived from`
	apacheHeader = `Licensed under the Apache License, Version 2.0 (the "License");`
)

func TestLicencesAreToldByTheirText(t *testing.T) {
	apache, err := os.ReadFile("../../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"Apache", string(apache), "Apache-2.0"},
		{"Apache by reference", apacheHeader, "Apache-2.0"},
		{"MIT", mit, "MIT"},
		{"MIT over other line ends", strings.ReplaceAll(mit, "\n", "\r\n  "), "MIT"},
		{"ISC", isc, "ISC"},
		{"BSD with two clauses in a comment", bsd2, "BSD-2-Clause"},
		{"BSD with three", bsd3, "BSD-3-Clause"},
		{"BSD with the advertising clause", bsd3 + "All advertising materials mentioning features", ""},
		{"MPL, which names the GNU licences", "Mozilla Public License Version 2.0 … GNU General Public License", "MPL-2.0"},
		{"two in one file", mit + "\n\n" + apacheHeader, "Apache-2.0 AND MIT"},
		{"GPL", "GNU GENERAL PUBLIC LICENSE Version 2", ""},
		{"one that needs a reader, beside one that does not", mit + "GNU Lesser General Public License", ""},
		{"anything else", "All rights reserved.", ""},
		{"nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Identify([]byte(tt.text)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhatIsPassedOnWithAModule(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tree := fstest.MapFS{
		"LICENSE": file(apacheHeader), "NOTICE.txt": file("made by"), "PATENTS": file("grant"), "README.md": file("text"),
		"license.go": file("package x"), "third_party/btree/licence.md": file(bsd3), "testdata/LICENSE": file("sample"),
		"_examples/LICENSE": file("example"), ".github/LICENSE": file("robot"),
	}
	for _, tt := range []struct {
		name string
		deep bool
		want []string
	}{
		{"of a dependency", true, []string{"LICENSE", "NOTICE.txt", "PATENTS", "third_party/btree/licence.md"}},
		{"of a root that says it all", false, []string{"LICENSE", "NOTICE.txt", "PATENTS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files, err := licences(tree, tt.deep)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range files {
				names = append(names, f.Name)
			}
			if diff := cmp.Diff(tt.want, names); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAModuleWithoutALicenceInItsRootIsAnError(t *testing.T) {
	tree := fstest.MapFS{"NOTICE": {}, "internal/copied/LICENSE": {Data: []byte(mit)}, "a.go": {}}
	if _, err := licences(tree, true); !errors.Is(err, ErrNoLicence) {
		t.Errorf("error %v", err)
	}
}

func TestTheExpressionCoversEveryLicenceOrSaysNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []LicenceFile
		want  string
	}{
		{"one", []LicenceFile{{Name: "LICENSE", Licence: "MIT"}}, "MIT"},
		{"two of the module's own", []LicenceFile{{Name: "LICENSE", Licence: "MIT"}, {Name: "LICENSE.libyaml", Licence: "ISC"}}, "ISC AND MIT"},
		{
			"copied code, once each",
			[]LicenceFile{
				{Name: "LICENSE", Licence: "Apache-2.0 AND MIT"}, {Name: "a/LICENSE", Licence: "MIT"}, {Name: "b/LICENSE", Licence: "BSD-3-Clause"},
			},
			"Apache-2.0 AND BSD-3-Clause AND MIT",
		},
		{"notices have none", []LicenceFile{{Name: "LICENSE", Licence: "MIT"}, {Name: "NOTICE"}}, "MIT"},
		{"one that is not recognised", []LicenceFile{{Name: "LICENSE", Licence: "MIT"}, {Name: "LICENSE.txt"}}, ""},
		{"only that of copied code", []LicenceFile{{Name: "a/LICENSE", Licence: "MIT"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (Module{Files: tt.files}).Expression(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAProgramSaysWhatIsLinkedIntoItAndTheLicencesAreFound(t *testing.T) {
	// Of a test binary Go keeps no list of modules.
	program := filepath.Join(t.TempDir(), "images")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "..").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ids, err := Linked(program)
	if err != nil {
		t.Fatal(err)
	}
	std := ID{Path: Std, Version: strings.TrimPrefix(runtime.Version(), "go")}
	if len(ids) < 3 || ids[0] != (ID{Path: "github.com/inlay-project/inlay"}) || ids[1] != std {
		t.Fatalf("linked: %v", ids)
	}
	linked := slices.IndexFunc(ids, func(i ID) bool { return i.Path == "github.com/google/go-containerregistry" })
	if linked < 0 || !strings.HasPrefix(ids[linked].Sum, "h1:") {
		t.Fatalf("go-containerregistry is linked in, and the list says %v", ids)
	}
	modules, err := Source{Dir: "."}.Load(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range []Module{modules[0], modules[1], modules[linked]} {
		got = append(got, m.Path+": "+m.Expression())
	}
	want := []string{"github.com/inlay-project/inlay: Apache-2.0", "std: BSD-3-Clause", "github.com/google/go-containerregistry: Apache-2.0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	ids[linked].Version = "v0.0.1"
	if _, err := (Source{Dir: "."}).Load(t.Context(), ids); err == nil || !strings.Contains(err.Error(), "go-containerregistry@v0.0.1") {
		t.Errorf("a program of other versions than the tree's: error %v", err)
	}
}

func TestAFileThatIsNoGoProgramIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Linked(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v", err)
	}
}
