package fpga

import (
	"math/big"
	"strconv"
	"strings"
)

const (
	// MaxPerContainer is how many FPGAs one container can ask for, MaxPerPod how many all containers of a pod together.
	// Both are far above what a machine has, and keep what a pod makes of us small.
	MaxPerContainer = 256
	MaxPerPod       = 1024

	maxQuantityText = 64 // bytes; longer ones are nothing that a person or Kubernetes writes
	countDigits     = 4  // more are refused before they are computed
)

// quantity is how many of a resource a container asks for.
type quantity struct {
	text  string
	n     int64  // if there is no fault
	fault string // why it cannot be granted
}

const (
	faultText     = "is not a quantity"
	faultLong     = "is longer than 64 bytes, and so no quantity"
	faultNegative = "is negative"
	faultFraction = "is not a whole number"
	faultMany     = "is more than the 256 that one container can ask for"
)

// parseQuantity reads what Kubernetes reads as a quantity: 1, "1", 1000m, 1e0, 0.5Ki. It is not resource.ParseQuantity
// because the cost of that grows with the number: 1e999999999 holds up a server for minutes.
func parseQuantity(s string) quantity {
	q := quantity{text: s}
	if len(s) == 1 && s[0]-'0' <= 9 {
		q.n = int64(s[0] - '0')
		return q
	}
	if len(s) > maxQuantityText {
		q.text = s[:maxQuantityText] + "…"
		q.fault = faultLong
		return q
	}
	d, ok := splitDecimal(strings.TrimSpace(s))
	if !ok {
		q.fault = faultText
		return q
	}
	q.n, q.fault = d.count()
	if q.fault == "" && q.n > MaxPerContainer {
		q.n, q.fault = 0, faultMany
	}
	return q
}

// decimal is digits · 10^tens · 2^twos.
type decimal struct {
	negative   bool
	digits     string // without zeros at either end; "" is zero
	tens, twos int
}

// splitDecimal takes a number apart without computing it. What it refuses beyond Kubernetes are numbers without a
// digit ("-", ".", "Mi"), which Kubernetes reads as 0.
func splitDecimal(s string) (decimal, bool) {
	var d decimal
	if s != "" && (s[0] == '-' || s[0] == '+') {
		d.negative = s[0] == '-'
		s = s[1:]
	}
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(s)
	}
	whole, fraction, _ := strings.Cut(s[:end], ".")
	d.digits = whole + fraction
	if d.digits == "" || strings.Contains(fraction, ".") || !d.scale(s[end:]) {
		return decimal{}, false
	}
	d.tens -= len(fraction)
	short := strings.TrimRight(d.digits, "0")
	d.tens += len(d.digits) - len(short)
	d.digits = strings.TrimLeft(short, "0")
	return d, true
}

// scale reads a quantity's suffix.
func (d *decimal) scale(suffix string) bool {
	switch suffix {
	case "":
	case "n":
		d.tens = -9
	case "u":
		d.tens = -6
	case "m":
		d.tens = -3
	case "k":
		d.tens = 3
	case "M":
		d.tens = 6
	case "G":
		d.tens = 9
	case "T":
		d.tens = 12
	case "P":
		d.tens = 15
	case "E":
		d.tens = 18
	case "Ki":
		d.twos = 10
	case "Mi":
		d.twos = 20
	case "Gi":
		d.twos = 30
	case "Ti":
		d.twos = 40
	case "Pi":
		d.twos = 50
	case "Ei":
		d.twos = 60
	default:
		return d.exponent(suffix)
	}
	return true
}

// exponent reads e<number>. Exponents that no quantity of 64 bytes can make up for are all the same to us.
func (d *decimal) exponent(suffix string) bool {
	const beyond = 1000
	if suffix[0] != 'e' && suffix[0] != 'E' {
		return false
	}
	number := suffix[1:]
	negative := strings.HasPrefix(number, "-")
	if negative || strings.HasPrefix(number, "+") {
		number = number[1:]
	}
	if number == "" || strings.Trim(number, "0123456789") != "" {
		return false
	}
	e, err := strconv.Atoi(number)
	if err != nil || e > beyond {
		e = beyond
	}
	if negative {
		e = -e
	}
	d.tens = e
	return true
}

// count is the number itself, or why it is not one that can be granted.
func (d decimal) count() (int64, string) {
	switch {
	case d.digits == "":
		return 0, ""
	case d.negative:
		return 0, faultNegative
	case d.twos > 0:
		return d.binary()
	case d.tens < 0:
		return 0, faultFraction
	case len(d.digits)+d.tens > countDigits:
		return 0, faultMany
	}
	n, err := strconv.ParseInt(d.digits+strings.Repeat("0", d.tens), 10, 64)
	if err != nil {
		return 0, faultText
	}
	return n, ""
}

func (d decimal) binary() (int64, string) {
	if d.tens >= 0 {
		return 0, faultMany // at least 1Ki
	}
	value, ok := new(big.Int).SetString(d.digits, 10)
	if !ok {
		return 0, faultText
	}
	value.Lsh(value, uint(d.twos))
	rest := new(big.Int)
	value.QuoRem(value, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-d.tens)), nil), rest)
	switch {
	case rest.Sign() != 0:
		return 0, faultFraction
	case !value.IsInt64():
		return 0, faultMany
	}
	return value.Int64(), ""
}
