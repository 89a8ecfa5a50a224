package pdp_test

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

func TestParseNumericDate(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "-0": "0", "1795460000": "1795460000", "-1": "-1",
		"1795460000.5": "1795460000.5", "-0.5": "-0.5", "0.000000001": "0.000000001", "0.1": "0.1",
		"1795460000.0": "1795460000", "1.79546e9": "1795460000", "1.79546E+9": "1795460000", "17954600000e-1": "1795460000",
		"1e0": "1", "0e64": "0", "0.0e-64": "0", "5e-64": "0." + strings.Repeat("0", 63) + "5",
		"9007199254740992": "9007199254740992", "-9007199254740992": "-9007199254740992",
		"9007199254740992.0": "9007199254740992", "-9007199254740992.0": "-9007199254740992", "9007199254740991.9": "9007199254740991.9",
		"9007199254740992" + ".0e0": "9007199254740992",
	} {
		d, err := pdp.ParseNumericDate(json.Number(text))
		if err != nil || d.String() != want {
			t.Errorf("%s reads as %s, %v; want %s", text, d, err, want)
		}
	}
	for name, text := range map[string]string{
		"past the most":              "9007199254740993",
		"a fraction past the most":   "9007199254740992.000000001",
		"past the least":             "-9007199254740993",
		"a fraction past the least":  "-9007199254740992.1",
		"past int64":                 "9223372036854775808",
		"past any float":             "1e309",
		"an exponent past the bound": "0e65",
		"a negative one":             "0e-65",
		"an exponent past int":       "1e99999999999999999999",
		"a million digits":           strings.Repeat("9", 1_000_000),
		"65 characters":              "0." + strings.Repeat("0", 62) + "1",
		"large by its exponent":      "1e16",
		"nothing":                    "",
		"a word":                     "soon",
		"RFC 3339":                   "2026-11-24T12:00:00Z",
	} {
		if d, err := pdp.ParseNumericDate(json.Number(text)); err == nil {
			t.Errorf("%s reads as %s", name, d)
		}
	}
}

func TestNumericDateOrder(t *testing.T) {
	ascending := []string{"-2", "-1.5", "-1", "-0.000000001", "0", "0.1", "0.10000000000000000001", "0.5", "1", "1795460000", "1795460000.000000001"}
	for i, a := range ascending {
		for j, b := range ascending {
			got := fraction(t, a).Compare(*fraction(t, b))
			if got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
			if fraction(t, a).After(*fraction(t, b)) != (i > j) {
				t.Errorf("%s after %s", a, b)
			}
		}
	}
}

func TestNumericDateAddAndFloor(t *testing.T) {
	for _, tc := range []struct {
		date  string
		add   time.Duration
		sum   string
		floor int64
	}{
		{"10", 5 * time.Second, "15", 15},
		{"10.5", 5*time.Second + 999*time.Millisecond, "15.5", 15},
		{"-0.5", 0, "-0.5", -1},
		{"-0.5", time.Second, "0.5", 0},
		{"10", -20 * time.Second, "-10", -10},
	} {
		if sum := fraction(t, tc.date).Add(tc.add); sum.String() != tc.sum || sum.Floor() != tc.floor {
			t.Errorf("%s + %s = %s with floor %d, want %s and %d", tc.date, tc.add, sum, sum.Floor(), tc.sum, tc.floor)
		}
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// The oracle is math/big over the whole text, which has no limits of its own.
func FuzzNumericDate(f *testing.F) {
	for _, seed := range []string{"0", "-1.5", "1795460000.5", "1e9", "9007199254740992", "9007199254740992.5", "-9007199254740992", "1.79546E+9", "5e-64", "1e400"} {
		f.Add(seed, "17.25")
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		d, err := pdp.ParseNumericDate(json.Number(text))
		if !jsonNumber.MatchString(text) || len(text) > 200 {
			return // strictjson gives no such text; not to panic is all that is asked
		}
		if len(text) > 64 || exponentPast(text, 64) {
			if err == nil {
				t.Fatalf("%q, whose cost is not bounded, was read", text)
			}
			return
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("the oracle cannot read %q", text)
		}
		limit := new(big.Rat).SetInt64(1 << 53)
		if inside := new(big.Rat).Abs(exact).Cmp(limit) <= 0; inside != (err == nil) {
			t.Fatalf("%q: within the limits %v, error %v", text, inside, err)
		}
		if err != nil {
			return
		}
		if written, ok := new(big.Rat).SetString(d.String()); !ok || written.Cmp(exact) != 0 {
			t.Fatalf("%q is written %q", text, d)
		}
		below := new(big.Rat).Sub(exact, new(big.Rat).SetInt64(d.Floor()))
		if below.Sign() < 0 || below.Cmp(big.NewRat(1, 1)) >= 0 {
			t.Fatalf("%q has floor %d", text, d.Floor())
		}
		if !jsonNumber.MatchString(other) || len(other) > 64 || exponentPast(other, 64) {
			return
		}
		if second, err := pdp.ParseNumericDate(json.Number(other)); err == nil {
			oracle, _ := new(big.Rat).SetString(other)
			if d.Compare(second) != exact.Cmp(oracle) {
				t.Fatalf("%q against %q: %d", text, other, d.Compare(second))
			}
		}
	})
}

func exponentPast(text string, limit int64) bool {
	_, exponent, found := strings.Cut(strings.ToLower(text), "e")
	if !found {
		return false
	}
	n, ok := new(big.Int).SetString(exponent, 10)
	return !ok || n.CmpAbs(big.NewInt(limit)) > 0
}
