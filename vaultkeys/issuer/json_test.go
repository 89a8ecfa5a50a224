package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp/strictjson"
	"github.com/assaypdp/assay/vaultkeys"
)

// readBack are the limits under which a claims set is read when the token is used.
var readBack = strictjson.Limits{MaxDepth: maxDepth, MaxValues: maxValues}

func claims(t *testing.T, extra map[string]any) ([]byte, error) {
	t.Helper()
	o := order()
	o.Claims = extra
	if err := o.check(); err != nil {
		return nil, err
	}
	d := draft{key: vaultkeys.SigningKey{}, issued: 1, expires: 2, tokenID: "id"}
	return d.appendClaims(nil, &o)
}

func nested(depth int) any {
	var value any = true
	for range depth {
		value = []any{value}
	}
	return value
}

func many(n int) []any {
	list := make([]any, n)
	return list
}

// What is written at a limit is read back, what is past it is refused when it is ordered.
func TestClaimsAtTheLimitsOfTheStrictReader(t *testing.T) {
	// The claims set and its seven claims (iss sub aud exp iat jti client_id) count too, and the list itself.
	const room = maxValues - 9
	for _, c := range []struct {
		name string
		good bool
		a    any
	}{
		{"deepest", true, nested(maxDepth - 1)},
		{"deeper", false, nested(maxDepth)},
		{"most values", true, many(room)},
		{"one more", false, many(room + 1)},
		{"longest number", true, json.Number(strings.Repeat("1", maxNumberLength))},
		{"longer", false, json.Number(strings.Repeat("1", maxNumberLength+1))},
		{"largest exponent", true, json.Number("0e400")},
		{"larger", false, json.Number("0e401")},
		{"largest double", true, json.Number("1.7976931348623157e308")},
		{"too large for a double", false, json.Number("1.8e308")},
		{"smallest exponent", true, json.Number("1E-400")},
		{"smaller", false, json.Number("1E-401")},
		{"exponent with a sign and zeros", true, json.Number("1e+0000300")},
		{"exponent that overflows", false, json.Number("1e99999999999999999999")},
		{"largest float", true, math.MaxFloat64},
		{"smallest float", true, math.SmallestNonzeroFloat64},
		{"NaN", false, math.NaN()},
		{"infinity", false, math.Inf(-1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := claims(t, map[string]any{"a": c.a})
			if !c.good {
				if wrong, ok := errors.AsType[*OrderError](err); !ok || wrong.Field != "claims" {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := strictjson.DecodeObject(text, readBack); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEveryGoTypeComesBack(t *testing.T) {
	text, err := claims(t, map[string]any{
		"int": -7, "int64": int64(math.MinInt64), "float": 0.1, "bool": false, "nil": nil, "strings": []string{"", "x"},
		"empty list": []any{}, "empty object": map[string]any{}, "string": "\u2028\x00\U0001F600</script>",
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := strictjson.DecodeObject(text, readBack)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"int": json.Number("-7"), "int64": json.Number(strconv.Itoa(math.MinInt64)), "float": json.Number("0.1"), "bool": false, "nil": nil,
		"strings": []any{"", "x"}, "empty list": []any{}, "empty object": map[string]any{}, "string": "\u2028\x00\U0001F600</script>",
	} {
		if !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s: %#v, want %#v", name, got[name], want)
		}
	}
}

// Whatever claims a caller orders: they are refused as an order, or the strict reader reads back exactly them,
// beside exactly the registered ones.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"roles":["admin"],"act":{"sub":"bob"}}`, `{"a":1e400}`, `{"a":1e401}`, `{"x\":0,\"admin":true}`, `{"exp":9}`, `{"Exp":9,"exp ":9}`,
		`{"a":"\u2028\u0000"}`, `{"a":-0.0e-0}`, `{"":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}`, `{"":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}`,
		fmt.Sprintf(`{"a":[%s1]}`, strings.Repeat("1,", 5000)), `{"a":` + strings.Repeat("1", 65) + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		extra, err := strictjson.DecodeObject(text, strictjson.Limits{})
		if err != nil {
			t.Skip()
		}
		written, err := claims(t, extra)
		if err != nil {
			if wrong, ok := errors.AsType[*OrderError](err); !ok || wrong.Field != "claims" {
				t.Fatal(err)
			}
			return
		}
		got, err := strictjson.DecodeObject(written, readBack)
		if err != nil {
			t.Fatalf("%v: %s", err, written)
		}
		want := map[string]any{
			"iss": "https://assay.example", "sub": "alice", "aud": "orders", "client_id": "shop", "jti": "id",
			"exp": json.Number("2"), "iat": json.Number("1"),
		}
		for name, value := range extra {
			if _, ours := want[name]; ours {
				t.Fatalf("%s was overridden", name)
			}
			want[name] = value
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("\n got %#v\nwant %#v", got, want)
		}
	})
}
