package qdrantserver

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

func normalNumber(text string) (string, error) {
	if !strings.ContainsAny(text, ".eE") {
		if _, err := strconv.ParseInt(text, 10, 64); err == nil && text != "-0" {
			return text, nil
		}
		if _, err := strconv.ParseUint(text, 10, 64); err == nil {
			return text, nil
		}
	}
	f, err := parseFloat(text)
	return formatFloat(f, 64), err
}

// parseFloat reads a number as Qdrant's JSON reader does, which is not always the nearest one: the first 19 or so digits
// as an integer, then one multiplication or division by a power of ten. Whoever sends floats as JSON may find the last bit
// changed; gRPC does not do that.
func parseFloat(text string) (float64, error) {
	digits, power, _ := strings.Cut(strings.ToLower(text), "e")
	exponent := 0
	if power != "" {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil {
			return 0, fmt.Errorf("number out of range")
		}
	}
	digits, negative := strings.CutPrefix(digits, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	significand, full := uint64(0), false
	for i := range len(whole) + len(fraction) {
		c := (whole + fraction)[i]
		if d := uint64(c - '0'); !full && significand <= (math.MaxUint64-d)/10 {
			significand = significand*10 + d
			if i >= len(whole) {
				exponent--
			}
			continue
		}
		full = true
		if i < len(whole) {
			exponent++
		}
	}
	f := float64(significand)
	for exponent < -308 && f != 0 {
		f, exponent = f/1e308, exponent+308
	}
	switch {
	case f == 0:
	case exponent > 308:
		return 0, fmt.Errorf("number out of range")
	case exponent >= 0:
		f *= powerOfTen(exponent)
	default:
		f /= powerOfTen(-exponent)
	}
	if math.IsInf(f, 0) {
		return 0, fmt.Errorf("number out of range")
	}
	if negative {
		f = -f
	}
	return f, nil
}

func powerOfTen(n int) float64 {
	f, _ := strconv.ParseFloat("1e"+strconv.Itoa(n), 64) // n is between 0 and 308
	return f
}

// formatFloat prints the shortest number that reads back the same, always recognisable as a float.
func formatFloat(f float64, bits int) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "null"
	}
	digits, low := 16, -5
	if bits == 32 {
		digits, low = 13, -6
	}
	exponent := strconv.FormatFloat(f, 'e', -1, bits)
	mantissa, power, _ := strings.Cut(exponent, "e")
	p, _ := strconv.Atoi(power)
	if f != 0 && (p+1 > digits || p+1 <= low) {
		sign := ""
		if p > 0 {
			sign = "+"
		}
		return mantissa + "e" + sign + strconv.Itoa(p)
	}
	plain := strconv.FormatFloat(f, 'f', -1, bits)
	if !strings.Contains(plain, ".") {
		plain += ".0"
	}
	return plain
}

// float32s are printed as Qdrant prints vectors.
type float32s []float32

func (v float32s) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, 10*len(v)+2)
	out = append(out, '[')
	for i, f := range v {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, formatFloat(float64(f), 32)...)
	}
	return append(out, ']'), nil
}
