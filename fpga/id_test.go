package fpga_test

import (
	"strings"
	"testing"

	"github.com/inlay-project/inlay/fpga"
)

const (
	dcp10 = "ce48969398f05f33946d560708be108a"
	dcp11 = "9926ab6d6c925a68aabca7d84c545738"
	dcp12 = "69528db6eb31577a8c3668f9faa081f6"
	d5005 = "bfac4d851ee856fe8c95865ce1bbaa2d"
	nlb0  = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3  = "f7df405cbd7acf7222f144b0b93acd18"
)

var (
	ones  = strings.Repeat("f", 32)
	zeros = strings.Repeat("0", 32)
)

// The worked examples of spec section 1.3.
func TestResourceNamesAreThoseOfTheOldPlugin(t *testing.T) {
	for _, c := range []struct{ iface, afu, name string }{
		{dcp10, nlb0, "af-ce4.d84.zkiWk5jwXzOUbVYHCL4QithCTcSko8QT-J5DNoP5BAs"},
		{dcp10, nlb3, "af-ce4.f7d.zkiWk5jwXzOUbVYHCL4QivffQFy9es9yIvFEsLk6zRg"},
		{dcp11, nlb0, "af-992.d84.mSarbWySWmiqvKfYTFRXONhCTcSko8QT-J5DNoP5BAs"},
		{dcp11, nlb3, "af-992.f7d.mSarbWySWmiqvKfYTFRXOPffQFy9es9yIvFEsLk6zRg"},
		{dcp12, nlb0, "af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"},
		{dcp12, nlb3, "af-695.f7d.aVKNtusxV3qMNmj5-qCB9vffQFy9es9yIvFEsLk6zRg"},
		{d5005, nlb0, "af-bfa.d84.v6xNhR7oVv6MlYZc4buqLdhCTcSko8QT-J5DNoP5BAs"},
		{d5005, nlb3, "af-bfa.f7d.v6xNhR7oVv6MlYZc4buqLfffQFy9es9yIvFEsLk6zRg"},
		{ones, ones, "af-fff.fff." + strings.Repeat("_", 42) + "8"},
		{zeros, zeros, "af-000.000." + strings.Repeat("A", 43)},
		{dcp12, ones, "af-695.fff.aVKNtusxV3qMNmj5-qCB9v____________________8"},
	} {
		got, err := fpga.AFResource(fpga.InterfaceID(c.iface), fpga.AFUID(c.afu))
		if err != nil || got != c.name {
			t.Errorf("%s, %s: %q, %v; want %q", c.iface, c.afu, got, err, c.name)
		}
		if len(got) != 54 {
			t.Errorf("%q has %d characters: the plugin's socket path would not be 106 bytes", got, len(got))
		}
		i, a, err := fpga.ParseAFResource(c.name)
		if err != nil || string(i) != c.iface || string(a) != c.afu {
			t.Errorf("%q reads back as %s, %s, %v", c.name, i, a, err)
		}
	}
	if got := fpga.RegionResource(dcp12); got != "region-69528db6eb31577a8c3668f9faa081f6" {
		t.Errorf("region: %q", got)
	}
	if i, err := fpga.ParseRegionResource("region-" + dcp12); err != nil || i != dcp12 {
		t.Errorf("region reads back as %s, %v", i, err)
	}
}

func TestIDsAreReadAsUsersWriteThem(t *testing.T) {
	for _, text := range []string{
		dcp12, " " + dcp12 + "\n", strings.ToUpper(dcp12), "69528db6-eb31-577a-8c36-68f9faa081f6", "-69528DB6-EB31577A8C3668F9FAA081F6",
	} {
		i, err := fpga.ParseInterfaceID(text)
		a, errA := fpga.ParseAFUID(text)
		f, errF := fpga.ParseFunctionID(text)
		if err != nil || errA != nil || errF != nil || i != dcp12 || a != dcp12 || f != dcp12 {
			t.Errorf("%q: %q %v, %q %v, %q %v", text, i, err, a, errA, f, errF)
		}
	}
}

func TestHostileIDsAreRefused(t *testing.T) {
	hostile := []string{
		"", " ", "-", "0x" + dcp12[2:], dcp12 + "0", dcp12[:31], dcp12[:31] + "g", "../" + dcp12[3:], dcp12[:16] + "/" + dcp12[17:],
		dcp12[:16] + "\x00" + dcp12[17:], dcp12[:16] + "." + dcp12[17:], dcp12[:16] + " " + dcp12[17:], dcp12[:30] + "é",
		strings.Repeat("f", 1<<20) + "/", "０" + dcp12[1:], dcp12 + ".gbs",
	}
	for _, text := range hostile {
		if id, err := fpga.ParseInterfaceID(text); err == nil || id != "" {
			t.Errorf("interface id %.80q: %q, %v", text, id, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		if id, err := fpga.ParseAFUID(text); err == nil || id != "" {
			t.Errorf("AFU id %.80q: %q, %v", text, id, err)
		}
	}
	for text, ok := range map[string]bool{
		"1234567": false, "12345678": true, strings.Repeat("a", 40): true, strings.Repeat("a", 64): true,
		strings.Repeat("a", 65): false, "../../../../etc": false, "abcdefgh": false, "": false,
	} {
		if id, err := fpga.ParseFunctionID(text); (err == nil) != ok {
			t.Errorf("function id %q: %q, %v", text, id, err)
		}
	}
}

func TestWhatAnIDSays(t *testing.T) {
	if !fpga.InterfaceID(ones).AllOnes() || !fpga.AFUID(ones).AllOnes() {
		t.Error("all ones are not seen")
	}
	for _, id := range []string{"", zeros, dcp12, ones[:31] + "e"} {
		if fpga.InterfaceID(id).AllOnes() || fpga.AFUID(id).AllOnes() {
			t.Errorf("%q passes for all ones", id)
		}
	}
	if a, ok := fpga.FunctionID(nlb0).AFU(); !ok || a != nlb0 {
		t.Errorf("the function of a GBS has AFU %s, %v", a, ok)
	}
	if _, ok := fpga.FunctionID(strings.Repeat("a", 40)).AFU(); ok {
		t.Error("an AOCX hash passes for an AFU id")
	}
}

func TestResourceNamesOfBadIDsAreRefused(t *testing.T) {
	for _, c := range [][2]string{{"", ""}, {dcp12, ""}, {"", nlb0}, {dcp12, nlb0 + "00"}, {dcp12, strings.ToUpper(nlb0)}, {dcp12, ones[:31] + "/"}} {
		if name, err := fpga.AFResource(fpga.InterfaceID(c[0]), fpga.AFUID(c[1])); err == nil {
			t.Errorf("%q, %q: %q", c[0], c[1], name)
		}
	}
	good, _ := fpga.AFResource(dcp12, nlb0)
	for _, name := range []string{
		"", "af-", "af-..", "region-" + dcp12, good[3:], good + "A", good[:53], "af-000" + good[6:], "af-695.000" + good[10:],
		strings.Replace(good, "_", "/", 1) + "=", strings.ToUpper(good), good[:53] + "t", " " + good,
	} {
		if i, a, err := fpga.ParseAFResource(name); err == nil {
			t.Errorf("af %q: %s, %s", name, i, a)
		}
	}
	for _, name := range []string{
		"", "region-", dcp12, "region-" + dcp12 + "0", "region-" + strings.ToUpper(dcp12), "region-69528db6-eb31-577a-8c36-68f9faa081f6",
		"region-" + dcp12 + "\n", "xregion-" + dcp12,
	} {
		if i, err := fpga.ParseRegionResource(name); err == nil {
			t.Errorf("region %q: %s", name, i)
		}
	}
}

func FuzzParseAFResource(f *testing.F) {
	good, _ := fpga.AFResource(dcp12, nlb0)
	f.Add(good)
	f.Add(good[:53] + "t")
	f.Add("af-fff.fff." + strings.Repeat("_", 42) + "8")
	f.Add("af-...")
	f.Fuzz(func(t *testing.T, name string) {
		i, a, err := fpga.ParseAFResource(name)
		if err != nil {
			return
		}
		if back, err := fpga.AFResource(i, a); err != nil || back != name {
			t.Errorf("%q reads as %s, %s and those make %q, %v", name, i, a, back, err)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{dcp12, "69528db6-eb31-577a-8c36-68f9faa081f6", "../x", "", "K"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := fpga.ParseFunctionID(text)
		if err != nil {
			return
		}
		if strings.Trim(string(id), "0123456789abcdef") != "" || len(id) < 8 || len(id) > 64 {
			t.Errorf("%q gives %q", text, id)
		}
		if again, err := fpga.ParseFunctionID(string(id)); err != nil || again != id {
			t.Errorf("%q reads again as %q, %v", id, again, err)
		}
		i, errI := fpga.ParseInterfaceID(text)
		a, errA := fpga.ParseAFUID(text)
		if (errI == nil) != (len(id) == 32) || (errA == nil) != (len(id) == 32) || errI == nil && (string(i) != string(id) || string(a) != string(id)) {
			t.Errorf("%q: %q %v, %q %v, %q", text, i, errI, a, errA, id)
		}
	})
}
