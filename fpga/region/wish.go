package region

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/fpga"
)

// The variables by which a container asks for functions; a suffix joins the two of a pair.
const (
	RegionVariable = "FPGA_REGION_"
	AFUVariable    = "FPGA_AFU_"
)

// Errors of Wishes that callers tell apart.
var (
	ErrNoRegion = errors.New("no FPGA_REGION_n variable is set")
	ErrNoAFU    = errors.New("no FPGA_AFU_n variable is set")
)

// Wishes reads the pairs FPGA_REGION_n, FPGA_AFU_n from an environment of NAME=VALUE entries: ordered by number, other
// suffixes behind them. Of a variable that is set twice the last counts, as for the process itself. An FPGA_AFU_n
// without its FPGA_REGION_n is nobody's wish and passed over, as the old hook did.
func Wishes(env []string) ([]Wish, error) {
	regions, afus := map[string]string{}, map[string]string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if k, ok := strings.CutPrefix(name, RegionVariable); ok {
			regions[k] = value
		} else if k, ok := strings.CutPrefix(name, AFUVariable); ok {
			afus[k] = value
		}
	}
	if len(regions) == 0 {
		return nil, ErrNoRegion
	}
	if len(afus) == 0 {
		return nil, ErrNoAFU
	}
	suffixes := make([]string, 0, len(regions))
	for k := range regions {
		suffixes = append(suffixes, k)
	}
	sort.Slice(suffixes, func(i, j int) bool { return suffixLess(suffixes[i], suffixes[j]) })
	wishes := make([]Wish, 0, len(suffixes))
	for _, k := range suffixes {
		value, ok := afus[k]
		if !ok {
			return nil, fmt.Errorf("%s is set, %s is not", variable(RegionVariable, k), variable(AFUVariable, k))
		}
		iface, err := fpga.ParseInterfaceID(regions[k])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable(RegionVariable, k), err)
		}
		fn, err := fpga.ParseFunctionID(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable(AFUVariable, k), err)
		}
		wishes = append(wishes, Wish{Interface: iface, Function: fn})
	}
	return wishes, nil
}

// variable gives a variable's name for a message: one line, and of bounded length, whatever the pod wrote.
func variable(prefix, suffix string) string {
	quoted := fmt.Sprintf("%.40q", suffix)
	return prefix + quoted[1:len(quoted)-1]
}

// Asks tells whether an environment names any function. It allocates nothing.
func Asks(env []string) bool {
	for _, entry := range env {
		if strings.HasPrefix(entry, AFUVariable) || strings.HasPrefix(entry, RegionVariable) {
			return true
		}
	}
	return false
}

func suffixLess(a, b string) bool {
	x, errA := strconv.ParseUint(a, 10, 64)
	y, errB := strconv.ParseUint(b, 10, 64)
	switch {
	case errA == nil && errB == nil && x != y:
		return x < y
	case (errA == nil) != (errB == nil):
		return errA == nil
	}
	return a < b
}
