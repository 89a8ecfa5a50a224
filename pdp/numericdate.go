package pdp

import (
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// NumericDate is a count of seconds since 1970-01-01T00:00:00Z that may have a fraction (RFC 7519
// section 2). It is exact: a fraction is kept as the rational number that the JSON text says, so that a
// token is judged by what its issuer wrote and not by the nearest float64.
//
// The zero value is the epoch; an absent claim is a nil *NumericDate.
type NumericDate struct {
	whole int64    // the largest whole second not after the date
	frac  *big.Rat // in (0,1); nil where the date is whole
}

// maxNumericDate bounds what is a date: 2^53, the integers that every JSON implementation agrees on
// (RFC 8259 section 6). It also keeps sums with any configured duration far from overflow.
const maxNumericDate = 1 << 53

// errNumericDate is what ParseNumericDate answers; the caller knows the claim's name.
var errNumericDate = errors.New("not a NumericDate: a JSON number of seconds between -2^53 and 2^53")

// ParseNumericDate reads the text of a JSON number. Its cost is bounded: neither a long text nor a large
// exponent makes it compute with large numbers.
func ParseNumericDate(n json.Number) (NumericDate, error) {
	s := n.String()
	if len(s) > 64 {
		return NumericDate{}, errNumericDate
	}
	if !strings.ContainsAny(s, ".eE") {
		whole, err := strconv.ParseInt(s, 10, 64)
		if err != nil || whole > maxNumericDate || whole < -maxNumericDate {
			return NumericDate{}, errNumericDate
		}
		return NumericDate{whole: whole}, nil
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		exponent, err := strconv.Atoi(strings.TrimPrefix(s[i+1:], "+"))
		if err != nil || exponent > 64 || exponent < -64 {
			return NumericDate{}, errNumericDate
		}
	}
	exact, ok := new(big.Rat).SetString(s)
	if !ok {
		return NumericDate{}, errNumericDate
	}
	floor := new(big.Int)
	rest := new(big.Int)
	floor.DivMod(exact.Num(), exact.Denom(), rest) // Euclidean: the rest is never negative
	if !floor.IsInt64() || floor.Int64() > maxNumericDate || floor.Int64() < -maxNumericDate ||
		floor.Int64() == maxNumericDate && rest.Sign() > 0 {
		return NumericDate{}, errNumericDate
	}
	d := NumericDate{whole: floor.Int64()}
	if rest.Sign() > 0 {
		d.frac = new(big.Rat).SetFrac(rest, exact.Denom())
	}
	return d, nil
}

// UnixDate is the NumericDate of a whole second.
func UnixDate(seconds int64) NumericDate { return NumericDate{whole: seconds} }

// Add gives the date that lies whole seconds of d later; a part of a second in d is dropped.
func (n NumericDate) Add(d time.Duration) NumericDate {
	n.whole += int64(d / time.Second)
	return n
}

// Compare is negative, zero or positive as n is before, at or after o.
func (n NumericDate) Compare(o NumericDate) int {
	switch {
	case n.whole < o.whole:
		return -1
	case n.whole > o.whole:
		return 1
	case n.frac == nil && o.frac == nil:
		return 0
	case n.frac == nil:
		return -1
	case o.frac == nil:
		return 1
	}
	return n.frac.Cmp(o.frac)
}

// After reports whether n is later than o.
func (n NumericDate) After(o NumericDate) bool { return n.Compare(o) > 0 }

// Floor is the last whole second not after the date.
func (n NumericDate) Floor() int64 { return n.whole }

// String is the date as JSON text: whole seconds, or a decimal with as many digits as it needs, at most
// nine where no finite number of digits is exact.
func (n NumericDate) String() string {
	if n.frac == nil {
		return strconv.FormatInt(n.whole, 10)
	}
	exact := new(big.Rat).Add(new(big.Rat).SetInt64(n.whole), n.frac)
	digits, finite := exact.FloatPrec()
	if !finite {
		digits = 9
	}
	return exact.FloatString(digits)
}
