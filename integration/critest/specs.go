package critest

import "github.com/inlay-project/inlay/integration"

// Skipped is a spec, or several, that is not run.
type Skipped struct {
	// Pattern is a regular expression over the specs' whole names.
	Pattern string
	// Runtime is the one where it is not run; empty is any.
	Runtime integration.RuntimeName
	Reason  string
}

// SkipList is what cannot pass here, with or without Inlay.
func SkipList() []Skipped {
	return []Skipped{
		{
			Pattern: `\[k8s\.io\] AppArmor `,
			Reason:  "needs AppArmor, which a build machine's kernel or container does not have",
		},
		{
			Pattern: `Image Manager public image with digest should be pulled`,
			Reason:  "names the digest of an image in Google's registry: no stand-in has it",
		},
		{
			Pattern: `runtime should support MaskedPaths`,
			Reason:  "masks /bin/ls; the shell of Debian's busybox runs ls without looking for the file",
		},
		{
			Pattern: `port mapping with host port and container port`, Runtime: integration.CRIO,
			Reason: "CRI-O maps host ports itself, and on this network nobody answers there, with Inlay or without",
		},
	}
}

// skipOn are the patterns of what is not run on a runtime.
func skipOn(runtime integration.RuntimeName) []string {
	var patterns []string
	for _, s := range SkipList() {
		if s.Runtime == "" || s.Runtime == runtime {
			patterns = append(patterns, s.Pattern)
		}
	}
	return patterns
}

// Floor is how many specs passed with inlay-nri connected, and without, when this test
// was made (cri-tools 1.34.0, the skip list above). Fewer mean that something broke, in a
// stand-in, a runtime or Inlay. A new release of cri-tools or a longer skip list is a
// reason to record another number, with the run in docs/results that shows it.
func Floor(runtime integration.RuntimeName) int {
	if runtime == integration.CRIO {
		return 96
	}
	return 97
}

// FocusFloor is how many specs of FocusList passed, with inlay-nri and without, when this test was made (cri-tools
// 1.34.0, 2026-11-22). A spec that is called otherwise falls out of a pattern that still fits others; then there are
// fewer. Whoever changes the list records the new number.
func FocusFloor(runtime integration.RuntimeName) int {
	return map[integration.RuntimeName]int{integration.Containerd: 24, integration.CRIO: 24}[runtime]
}

// FocusList is the short selection of `make integration`: the ways into a container that
// an NRI plugin could disturb, each in less than a second.
func FocusList() []string {
	return []string{
		`PodSandbox runtime should support basic operations`,
		`runtime should support (creating|starting|stopping) container \[Conformance\]`,
		`runtime should support removing (created|running) container`,
		`runtime should support execSync \[Conformance\]`,
		`starting container with volume \[Conformance\]`,
		`should support non-recursive readonly mounts`,
		`should reject a recursive readonly mount with ReadOnly: false`,
		`runtime should support RunAsUser$`,
		`runtime should support SupplementalGroups$`,
		`runtime should support (adding|dropping) capability`,
		`runtime should support Privileged is false`,
		`runtime should support ReadonlyPaths`,
		`should support seccomp default on the container`,
		`should support safe sysctls`,
		`runtime should support HostIpc is false`,
		`StopContainer should not return an error if already stopped`,
		`Multiple Containers \[Conformance\] .* should support container exec`,
		`public image with tag should be pulled and removed`,
	}
}
