package sbom

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/inlay-project/inlay/deploy/images/modules"
)

const goodSum = "h1:PV8peI4a0ysnczrg+LtxykD8LfKY9ML6u2jnxaEnrnM="

func module(path, version, sum, licence string) modules.Module {
	return modules.Module{
		ID:    modules.ID{Path: path, Version: version, Sum: sum},
		Files: []modules.LicenceFile{{Name: "LICENSE", Licence: licence}},
	}
}

func sample() Image {
	own, std := module("example.test/own", "", "", "Apache-2.0"), module(modules.Std, "1.26.8", "", "BSD-3-Clause")
	lib, odd := module("example.test/lib/v2", "v2.1.0", goodSum, "MIT"), module("example.test/odd", "v0.1.0", goodSum, "")
	return Image{
		Name: "registry.test/inlay/sample:v1", Version: "v1", Digest: strings.Repeat("a", 64), Source: "https://example.test/own",
		Creator: "Somebody", Created: time.Unix(1_700_000_000, 0),
		Platforms: []Platform{{
			Platform: "linux/amd64", Digest: strings.Repeat("b", 64),
			Programs: []Program{
				{Path: "/usr/bin/one", Data: []byte("one"), Modules: []modules.Module{own, std, lib}},
				{Path: "/usr/bin/two", Data: []byte("two"), Modules: []modules.Module{own, std, lib, odd}},
			},
		}},
	}
}

func written(t *testing.T, i Image) (*v2_3.Document, []byte) {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, i); err != nil {
		t.Fatal(err)
	}
	doc := &v2_3.Document{}
	if err := spdxjson.ReadInto(bytes.NewReader(out.Bytes()), doc); err != nil {
		t.Fatal(err)
	}
	return doc, out.Bytes()
}

func TestTheDocumentSaysWhatIsInWhat(t *testing.T) {
	doc, text := written(t, sample())
	var got []string
	for _, r := range doc.Relationships {
		got = append(got, fmt.Sprintf("%s %s %s", r.RefA.ElementRefID, r.Relationship, r.RefB.ElementRefID))
	}
	want := []string{
		"DOCUMENT DESCRIBES Image",
		"Image CONTAINS Image-linux-amd64",
		"Image-linux-amd64 CONTAINS Program-linux-amd64-usr-bin-one",
		"Program-linux-amd64-usr-bin-one STATIC_LINK Module-example.test-own",
		"Program-linux-amd64-usr-bin-one STATIC_LINK Module-std-1.26.8",
		"Program-linux-amd64-usr-bin-one STATIC_LINK Module-example.test-lib-v2-v2.1.0",
		"Image-linux-amd64 CONTAINS Program-linux-amd64-usr-bin-two",
		"Program-linux-amd64-usr-bin-two STATIC_LINK Module-example.test-own",
		"Program-linux-amd64-usr-bin-two STATIC_LINK Module-std-1.26.8",
		"Program-linux-amd64-usr-bin-two STATIC_LINK Module-example.test-lib-v2-v2.1.0",
		"Program-linux-amd64-usr-bin-two STATIC_LINK Module-example.test-odd-v0.1.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !bytes.Contains(text, []byte(`"spdxVersion": "SPDX-2.3"`)) || !bytes.Contains(text, []byte(`"filesAnalyzed": false`)) {
		t.Errorf("not SPDX 2.3 as asked for:\n%s", text)
	}
}

func TestEachModuleIsThereOnceWithVersionSumAndLicence(t *testing.T) {
	doc, _ := written(t, sample())
	legal := regexp.MustCompile(`^[A-Za-z0-9.-]+$`)
	got := map[string]string{}
	for _, p := range doc.Packages {
		if !legal.MatchString(string(p.PackageSPDXIdentifier)) {
			t.Errorf("id %q", p.PackageSPDXIdentifier)
		}
		if _, twice := got[p.PackageName]; twice && p.PrimaryPackagePurpose == "LIBRARY" {
			t.Errorf("%s is there twice", p.PackageName)
		}
		purl, sum := "", ""
		if len(p.PackageExternalReferences) > 0 {
			purl = p.PackageExternalReferences[0].Locator
		}
		if len(p.PackageChecksums) > 0 && p.PackageChecksums[0].Algorithm == common.SHA256 {
			sum = p.PackageChecksums[0].Value[:8]
		}
		got[p.PackageName] = strings.Join([]string{p.PackageVersion, sum, purl, p.PackageLicenseConcluded}, " | ")
	}
	want := map[string]string{
		"registry.test/inlay/sample:v1": "v1 | bbbbbbbb |  | NOASSERTION",
		"/usr/bin/one":                  "v1 | 7692c3ad |  | Apache-2.0 AND BSD-3-Clause AND MIT",
		"/usr/bin/two":                  "v1 | 3fc4ccfe |  | NOASSERTION",
		"example.test/own":              "v1 |  | pkg:golang/example.test/own@v1 | Apache-2.0",
		"std":                           "1.26.8 |  | pkg:golang/stdlib@1.26.8 | BSD-3-Clause",
		"example.test/lib/v2":           "v2.1.0 | 3d5f2978 | pkg:golang/example.test/lib/v2@v2.1.0 | MIT",
		"example.test/odd":              "v0.1.0 | 3d5f2978 | pkg:golang/example.test/odd@v0.1.0 | NOASSERTION",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheSameImageHasTheSameDocument(t *testing.T) {
	_, first := written(t, sample())
	_, second := written(t, sample())
	if !bytes.Equal(first, second) {
		t.Error("two documents of one image differ")
	}
}

func TestAModuleWithoutAChecksumIsAnError(t *testing.T) {
	i := sample()
	i.Platforms[0].Programs[0].Modules[2].Sum = "h1:short"
	if err := Write(&bytes.Buffer{}, i); err == nil || !strings.Contains(err.Error(), "example.test/lib/v2@v2.1.0") {
		t.Errorf("error %v", err)
	}
}
