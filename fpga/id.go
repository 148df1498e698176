package fpga

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// InterfaceID names the static part of a card that a bitstream was built for: 32 lowercase hex digits.
type InterfaceID string

// AFUID names an accelerator function as a port shows it in sysfs: 32 lowercase hex digits.
type AFUID string

// FunctionID names a bitstream of a store: the AFU id of a GBS file, or the build hash of an AOCX file; 8 to 64
// lowercase hex digits, so that as a file name it cannot lead anywhere.
type FunctionID string

const (
	idDigits         = 32
	minFunctionDigit = 8
	maxFunctionDigit = 64
)

// normalise accepts what users write: upper case, dashes of a UUID, white space around.
func normalise(s string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimSpace(s), "-", ""))
}

func hexOnly(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

func parseID(kind, s string, least, most int) (string, error) {
	id := normalise(s)
	if !hexOnly(id) || len(id) < least || len(id) > most {
		want := fmt.Sprintf("%d", least)
		if least != most {
			want = fmt.Sprintf("%d to %d", least, most)
		}
		return "", fmt.Errorf("%s %.80q is not %s hex digits", kind, s, want)
	}
	return id, nil
}

// ParseInterfaceID reads an interface id; dashes, upper case and surrounding white space are accepted.
func ParseInterfaceID(s string) (InterfaceID, error) {
	id, err := parseID("interface id", s, idDigits, idDigits)
	return InterfaceID(id), err
}

// ParseAFUID reads an AFU id; dashes, upper case and surrounding white space are accepted.
func ParseAFUID(s string) (AFUID, error) {
	id, err := parseID("AFU id", s, idDigits, idDigits)
	return AFUID(id), err
}

// ParseFunctionID reads an AFU id or an AOCX hash; dashes, upper case and surrounding white space are accepted.
func ParseFunctionID(s string) (FunctionID, error) {
	id, err := parseID("function id", s, minFunctionDigit, maxFunctionDigit)
	return FunctionID(id), err
}

// AFU gives the AFU id that a function has by its name alone: a function of another length is an AOCX hash, which no
// port ever shows.
func (f FunctionID) AFU() (AFUID, bool) {
	return AFUID(f), len(f) == idDigits
}

// AllOnes tells whether an id reads as all ones, which is what a card whose firmware died answers.
func (i InterfaceID) AllOnes() bool { return i != "" && strings.Trim(string(i), "f") == "" }

// AllOnes tells whether an id reads as all ones, which is what a card whose firmware died answers.
func (a AFUID) AllOnes() bool { return a != "" && strings.Trim(string(a), "f") == "" }

// RegionResource is the resource type of an FME in region and regiondevel mode, without the vendor's domain.
func RegionResource(i InterfaceID) string { return "region-" + string(i) }

// AFResource is the resource type of a port in af mode, without the vendor's domain: three digits of each id for the
// reader and both ids in URL-safe base64, because the name may have 63 characters and the plugin's socket path 107.
func AFResource(i InterfaceID, a AFUID) (string, error) {
	if len(i) != idDigits || len(a) != idDigits || !hexOnly(string(i)) || !hexOnly(string(a)) {
		return "", fmt.Errorf("resource name of interface %.80q, AFU %.80q: not %d lowercase hex digits each", i, a, idDigits)
	}
	raw, err := hex.DecodeString(string(i) + string(a))
	if err != nil {
		return "", fmt.Errorf("resource name of interface %s, AFU %s: %w", i, a, err)
	}
	return fmt.Sprintf("af-%s.%s.%s", i[:3], a[:3], base64.RawURLEncoding.EncodeToString(raw)), nil
}

// ParseAFResource reads the two ids back from an AFResource name.
func ParseAFResource(name string) (InterfaceID, AFUID, error) {
	parts := strings.SplitN(name, ".", 3)
	if len(parts) == 3 && strings.HasPrefix(name, "af-") {
		raw, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err == nil && len(raw) == idDigits {
			ids := hex.EncodeToString(raw)
			i, a := InterfaceID(ids[:idDigits]), AFUID(ids[idDigits:])
			if canonical, err := AFResource(i, a); err == nil && canonical == name {
				return i, a, nil
			}
		}
	}
	return "", "", fmt.Errorf("%.80q is not the name of an af resource", name)
}

// ParseResource reads the ids that a resource is named for; a region's has no AFU id.
func ParseResource(name string) (InterfaceID, AFUID, error) {
	if i, afu, err := ParseAFResource(name); err == nil {
		return i, afu, nil
	}
	i, err := ParseRegionResource(name)
	return i, "", err
}

// ParseRegionResource reads the interface id back from a RegionResource name.
func ParseRegionResource(name string) (InterfaceID, error) {
	id, ok := strings.CutPrefix(name, "region-")
	if i, err := ParseInterfaceID(id); ok && err == nil && string(i) == id {
		return i, nil
	}
	return "", fmt.Errorf("%.80q is not the name of a region resource", name)
}
