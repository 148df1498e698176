package sbom

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/inlay-project/inlay/deploy/images/modules"
)

// Image is what a document is about.
type Image struct {
	Name      string // whole reference
	Version   string
	Digest    string // of the index, in hex
	Source    string // address of the source code; documents are named below it
	Creator   string
	Created   time.Time
	Platforms []Platform
}

// Platform is the image of one platform.
type Platform struct {
	Platform string // "linux/amd64"
	Digest   string // of its manifest, in hex
	Programs []Program
}

// Program is a program in the image.
type Program struct {
	Path    string
	Data    []byte
	Modules []modules.Module // as modules.Linked orders them: its own first
}

const noAssertion = "NOASSERTION"

// Write writes the document. The same image gives the same bytes.
func Write(w io.Writer, i Image) error {
	d, err := document(i)
	if err != nil {
		return fmt.Errorf("SBOM of %s: %w", i.Name, err)
	}
	return spdxjson.Write(d, w, spdxjson.Indent(" "))
}

// writer collects the packages of a document.
type writer struct {
	doc  *v2_3.Document
	seen map[common.ElementID]bool
}

func document(i Image) (*v2_3.Document, error) {
	w := writer{seen: map[common.ElementID]bool{}, doc: &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      i.Name,
		DocumentNamespace: fmt.Sprintf("%s/spdx/%s", i.Source, i.Digest),
		CreationInfo: &v2_3.CreationInfo{
			Created: i.Created.UTC().Format(time.RFC3339),
			Creators: []common.Creator{
				{CreatorType: "Organization", Creator: i.Creator}, {CreatorType: "Tool", Creator: "inlay-images-" + i.Version},
			},
		},
	}}
	var all []string
	image := w.add(&v2_3.Package{
		PackageName: i.Name, PackageSPDXIdentifier: "Image", PackageVersion: i.Version, PrimaryPackagePurpose: "CONTAINER",
		PackageChecksums: sum(i.Digest), PackageLicenseDeclared: noAssertion,
	})
	w.relate("DOCUMENT", common.TypeRelationshipDescribe, image.PackageSPDXIdentifier)
	for _, p := range i.Platforms {
		platform := w.add(&v2_3.Package{
			PackageName: i.Name, PackageSPDXIdentifier: id("Image", p.Platform), PackageVersion: i.Version,
			PrimaryPackagePurpose: "CONTAINER", PackageChecksums: sum(p.Digest), PackageLicenseDeclared: noAssertion,
			PackageSummary: "the image for " + p.Platform,
		})
		w.relate(image.PackageSPDXIdentifier, common.TypeRelationshipContains, platform.PackageSPDXIdentifier)
		var parts []string
		for _, program := range p.Programs {
			ids, err := w.program(platform.PackageSPDXIdentifier, i.Version, p.Platform, program)
			if err != nil {
				return nil, err
			}
			parts = append(parts, ids...)
		}
		platform.PackageLicenseConcluded = Licence(parts)
		all = append(all, parts...)
	}
	image.PackageLicenseConcluded = Licence(all)
	return w.doc, nil
}

// program adds a program and its modules and gives the modules' licences.
func (w writer) program(image common.ElementID, version, platform string, p Program) ([]string, error) {
	var all []string
	for _, m := range p.Modules {
		all = append(all, m.Expression())
	}
	digest := sha256.Sum256(p.Data)
	pkg := w.add(&v2_3.Package{
		PackageName: p.Path, PackageSPDXIdentifier: id("Program", platform, p.Path), PackageVersion: version,
		PackageFileName: p.Path, PrimaryPackagePurpose: "APPLICATION", PackageChecksums: sum(hex.EncodeToString(digest[:])),
		PackageLicenseConcluded: Licence(all), PackageLicenseDeclared: noAssertion,
	})
	w.relate(image, common.TypeRelationshipContains, pkg.PackageSPDXIdentifier)
	for _, m := range p.Modules {
		linked, err := w.module(version, m)
		if err != nil {
			return nil, err
		}
		w.relate(pkg.PackageSPDXIdentifier, common.TypeRelationshipStaticLink, linked)
	}
	return all, nil
}

// module adds a module once, whatever the number of programs that have it.
func (w writer) module(own string, m modules.Module) (common.ElementID, error) {
	spdxID := id("Module", m.String())
	if w.seen[spdxID] {
		return spdxID, nil
	}
	licence := m.Expression()
	if licence == "" {
		licence = noAssertion
	}
	pkg := &v2_3.Package{
		PackageName: m.Path, PackageSPDXIdentifier: spdxID, PackageVersion: m.Version, PrimaryPackagePurpose: "LIBRARY",
		PackageLicenseConcluded: licence, PackageLicenseDeclared: licence,
	}
	purl := "pkg:golang/" + m.Path + "@" + m.Version
	switch {
	case m.Path == modules.Std:
		purl = "pkg:golang/stdlib@" + m.Version // the name under which scanners look for Go's own faults
	case m.Version == "":
		pkg.PackageVersion, purl = own, "pkg:golang/"+m.Path+"@"+own
	default:
		tree, err := treeSum(m.Sum)
		if err != nil {
			return "", fmt.Errorf("module %s: %w", m, err)
		}
		pkg.PackageChecksums = sum(tree)
		pkg.PackageSourceInfo = "go.sum: " + m.Sum + "; the checksum is this number: SHA-256 over the list of the module's files"
	}
	pkg.PackageExternalReferences = []*v2_3.PackageExternalReference{{
		Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl,
	}}
	w.add(pkg)
	return spdxID, nil
}

func (w writer) add(p *v2_3.Package) *v2_3.Package {
	p.PackageDownloadLocation, p.PackageCopyrightText = noAssertion, noAssertion
	p.IsFilesAnalyzedTagPresent = true // and false: modules are named as a whole
	w.seen[p.PackageSPDXIdentifier] = true
	w.doc.Packages = append(w.doc.Packages, p)
	return p
}

func (w writer) relate(a common.ElementID, relation string, b common.ElementID) {
	w.doc.Relationships = append(w.doc.Relationships, &v2_3.Relationship{
		RefA: common.DocElementID{ElementRefID: a}, Relationship: relation, RefB: common.DocElementID{ElementRefID: b},
	})
}

// Licence is the licence of a whole whose parts have these; NOASSERTION if that of one part is not known.
func Licence(parts []string) string {
	if len(parts) == 0 || slices.Contains(parts, "") {
		return noAssertion
	}
	return modules.All(parts)
}

func sum(hexDigest string) []common.Checksum {
	return []common.Checksum{{Algorithm: common.SHA256, Value: hexDigest}}
}

// treeSum turns a sum of go.sum into hex.
func treeSum(s string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "h1:"))
	if err != nil || len(raw) != sha256.Size || !strings.HasPrefix(s, "h1:") {
		return "", fmt.Errorf("checksum %q is not one of go.sum", s)
	}
	return hex.EncodeToString(raw), nil
}

var notInIDs = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// id makes an SPDX element id: letters, digits, dots and hyphens. What tells two names apart only in other characters
// does not occur in module paths and programs of one image.
func id(parts ...string) common.ElementID {
	return common.ElementID(notInIDs.ReplaceAllString(strings.Join(parts, " "), "-"))
}
