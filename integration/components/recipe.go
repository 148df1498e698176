package components

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

//go:embed recipes/*.mod recipes/*.sum
var recipeFiles embed.FS

// Recipe says how one component is compiled. Fields are those of `go build`.
type Recipe struct {
	// Name is what callers ask for, e.g. "containerd".
	Name string
	// Version is the upstream version without the leading v.
	Version string
	// Module is the file name below recipes/ without its extension. Recipes that come
	// from one repository share it.
	Module string
	// Packages are the main packages; each gives one binary named by its last element.
	Packages []string
	// Binary names the one package's binary where the package's path does not end in it.
	Binary string
	// Test says that the one package is a test binary (`go test -c`).
	Test bool
	// Tags and LDFlags go to the compiler as they are.
	Tags    []string
	LDFlags string
	// CGO says that a C compiler is needed.
	CGO bool
	// C are C programs that the component brings along.
	C []CProgram
	// Debian names the packages of the distribution that building needs.
	Debian []string
}

// CProgram is a C program in the folder of a Go module, built from all C files of one
// folder into one static binary.
type CProgram struct {
	// Name is the binary's.
	Name string
	// Module is the Go module that holds it, Dir the folder below the module's own.
	Module, Dir string
	// Flags go to the compiler as they are.
	Flags []string
}

// All returns the recipes in the order in which they are best built: what most tests
// need comes first.
func All() []Recipe {
	const (
		containerd = "2.4.2"
		runc       = "1.5.2"
		kubernetes = "1.36.3"
		etcd       = "3.6.5"
		crio       = "1.36.1"
		oldCRIO    = "1.34.0"
		criTools   = "1.34.0"
		helm       = "4.3.1"
	)
	// A Kubernetes binary takes its version from the linker; without it the kubelet
	// announces v0.0.0 and the API server refuses part of its own feature gates.
	kubeFlags := "-X k8s.io/component-base/version.gitVersion=v" + kubernetes +
		" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
	return []Recipe{
		{
			Name: "containerd", Version: containerd, Module: "containerd",
			Packages: []string{
				"github.com/containerd/containerd/v2/cmd/containerd",
				"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
				"github.com/containerd/containerd/v2/cmd/ctr",
			},
			// The snapshotters that are left out need C libraries; the tests use overlayfs.
			Tags:    []string{"no_btrfs", "no_devmapper", "no_zfs"},
			LDFlags: "-X github.com/containerd/containerd/v2/version.Version=" + containerd,
		},
		{
			Name: "runc", Version: runc, Module: "runc",
			Packages: []string{"github.com/opencontainers/runc"},
			Tags:     []string{"seccomp", "netgo", "osusergo"},
			LDFlags:  "-X main.version=" + runc,
			// runc enters namespaces from C code that runs before the Go runtime.
			CGO:    true,
			Debian: []string{"gcc", "libc6-dev", "libseccomp-dev", "pkg-config"},
		},
		{
			Name: "kubelet", Version: kubernetes, Module: "kubernetes",
			Packages: []string{"k8s.io/kubernetes/cmd/kubelet"},
			LDFlags:  kubeFlags,
		},
		{
			Name: "kubernetes", Version: kubernetes, Module: "kubernetes",
			Packages: []string{
				"k8s.io/kubernetes/cmd/kube-apiserver",
				"k8s.io/kubernetes/cmd/kube-scheduler",
				"k8s.io/kubernetes/cmd/kube-controller-manager",
				"k8s.io/kubernetes/cmd/kubectl",
			},
			LDFlags: kubeFlags,
		},
		{
			Name: "etcd", Version: etcd, Module: "etcd",
			Packages: []string{"go.etcd.io/etcd/server/v3"},
			Binary:   "etcd",
		},
		crioRecipe("crio", crio, ""),
		// The old one carries NRI 0.9.1, which tells plugins less (container.user is missing).
		crioRecipe("crio-1.34", oldCRIO, "-1.34"),
		{
			// The checksum database has no answer for this module either: its two lines in
			// the .sum file were compared with the tag of its git repository by hand.
			Name: "critest", Version: criTools, Module: "critest",
			Packages: []string{"sigs.k8s.io/cri-tools/cmd/critest"},
			Binary:   "critest", // go test would call it critest.test
			Test:     true,
			LDFlags:  "-X sigs.k8s.io/cri-tools/pkg/version.Version=" + criTools,
		},
		{
			// The release whose engine the tests of deploy/ render the chart with.
			Name: "helm", Version: helm, Module: "helm",
			Packages: []string{"helm.sh/helm/v4/cmd/helm"},
			LDFlags:  "-X helm.sh/helm/v4/internal/version.version=v" + helm,
		},
	}
}

// crioRecipe is CRI-O with pinns, the program with which it keeps a pod's namespaces. The
// binaries' names end in suffix, so that a test can have two releases. The checksum
// database has no answer for this module: its two lines in the .sum files were compared
// with the tags of its git repository by hand.
func crioRecipe(name, version, suffix string) Recipe {
	const module = "github.com/cri-o/cri-o"
	return Recipe{
		Name: name, Version: version, Module: name,
		Packages: []string{module + "/cmd/crio"},
		Binary:   "crio" + suffix,
		// The storage drivers that are left out need C libraries; so would OpenPGP by gpgme.
		Tags: []string{"containers_image_openpgp", "exclude_graphdriver_btrfs", "exclude_graphdriver_devicemapper", "seccomp"},
		CGO:  true,
		C: []CProgram{{
			Name: "pinns" + suffix, Module: module, Dir: "pinns/src",
			Flags: []string{"-std=c99", "-Os", "-Wall", "-Wextra"},
		}},
		Debian: []string{"gcc", "libc6-dev", "libseccomp-dev", "pkg-config"},
	}
}

// Find returns the recipe of that name.
func Find(name string) (Recipe, error) {
	var names []string
	for _, r := range All() {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return Recipe{}, fmt.Errorf("component %q: no such recipe (there are: %s)", name, strings.Join(names, ", "))
}

// Binaries are the file names that the recipe makes, in the order of Packages and C.
func (r Recipe) Binaries() []string {
	names := make([]string, 0, len(r.Packages)+len(r.C))
	for _, p := range r.Packages {
		if r.Binary != "" {
			p = r.Binary
		}
		names = append(names, p[strings.LastIndexByte(p, '/')+1:])
	}
	for _, c := range r.C {
		names = append(names, c.Name)
	}
	return names
}

// moduleFiles returns the go.mod and go.sum that the component is built from.
func (r Recipe) moduleFiles() (mod, sum []byte, err error) {
	if mod, err = recipeFiles.ReadFile("recipes/" + r.Module + ".mod"); err != nil {
		return nil, nil, fmt.Errorf("component %s: %w", r.Name, err)
	}
	if sum, err = recipeFiles.ReadFile("recipes/" + r.Module + ".sum"); err != nil {
		return nil, nil, fmt.Errorf("component %s: %w", r.Name, err)
	}
	return mod, sum, nil
}

// key names the recipe's folder in the cache. It covers everything that decides what
// the binaries are except the Go release, which a rebuild would not change in kind.
func (r Recipe) key() (string, error) {
	mod, sum, err := r.moduleFiles()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	parts := slices.Concat([]string{r.Name, r.Version, r.LDFlags, fmt.Sprint(r.CGO), string(mod), string(sum)}, r.Packages, []string{"|"}, r.Tags)
	if r.Binary != "" {
		parts = append(parts, "|", r.Binary)
	}
	if r.Test {
		parts = append(parts, "|", "test")
	}
	for _, c := range r.C {
		parts = append(parts, "|", fmt.Sprint(c))
	}
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s;", len(part), part)
	}
	return fmt.Sprintf("%s-%s-%s", r.Name, r.Version, hex.EncodeToString(h.Sum(nil)[:4])), nil
}
