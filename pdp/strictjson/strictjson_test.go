package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, text, problem string
		want                any
	}{
		{name: "object", text: `{"a":1,"b":[true,null,"x"]}`, want: map[string]any{"a": json.Number("1"), "b": []any{true, nil, "x"}}},
		{name: "white space around", text: " \n{ } ", want: map[string]any{}},
		{name: "number keeps its text", text: `1.50e2`, want: json.Number("1.50e2")},
		{name: "escapes", text: `"\u00e9\ud83d\ude00"`, want: "é😀"},
		{name: "duplicate name", text: `{"a":1,"a":1}`, problem: "a member name stands twice"},
		{name: "duplicate name by escape", text: `{"a":1,"\u0061":2}`, problem: "a member name stands twice"},
		{name: "duplicate name inside", text: `{"x":[{"a":1,"a":2}]}`, problem: "a member name stands twice"},
		{name: "invalid UTF-8", text: "\"\xff\"", problem: "not UTF-8"},
		{name: "overlong UTF-8", text: "\"\xc0\xaf\"", problem: "not UTF-8"},
		{name: "lone high surrogate", text: `"\ud800"`, problem: "not UTF-8"},
		{name: "lone low surrogate", text: `"\udc00"`, problem: "not UTF-8"},
		{name: "surrogates reversed", text: `"\udc00\ud800"`, problem: "not UTF-8"},
		{name: "trailing value", text: `{}{}`, problem: "something stands after the value"},
		{name: "trailing comma", text: `{"a":1,}`, problem: "not JSON"},
		{name: "trailing NUL", text: "{}\x00", problem: "something stands after the value"},
		{name: "byte order mark", text: "\ufeff{}", problem: "not JSON"},
		{name: "empty", text: ``, problem: "it ends in the middle"},
		{name: "cut", text: `{"a":`, problem: "it ends in the middle"},
		{name: "comment", text: `{/**/}`, problem: "not JSON"},
		{name: "NaN", text: `NaN`, problem: "not JSON"},
		{name: "leading zero", text: `01`, problem: "something stands after the value"},
		{name: "single quotes", text: `{'a':1}`, problem: "not JSON"},
		{name: "control character", text: "\"\x01\"", problem: "not JSON"},
		{name: "long number", text: strings.Repeat("9", 65), problem: "a number of more than 64 characters"},
		{name: "number at the limit", text: strings.Repeat("9", 64), want: json.Number(strings.Repeat("9", 64))},
		{name: "large exponent", text: `1e401`, problem: "a number with an exponent beyond 400"},
		{name: "small exponent", text: `1e-401`, problem: "a number with an exponent beyond 400"},
		{name: "exponent at the limit", text: `0e+400`, want: json.Number("0e+400")},
		{name: "largest double", text: `1.7976931348623157e+308`, want: json.Number("1.7976931348623157e+308")},
		{name: "too large for a double", text: `1.8e308`, problem: "a number that is too large for a double"},
		{name: "large by its digits", text: `-12e307`, want: json.Number("-12e307")},
		{name: "too large by one digit more", text: `-1200e306`, problem: "a number that is too large for a double"},
		{name: "too small for a double", text: `1e-400`, want: json.Number("1e-400")},
		{name: "exponent overflows", text: `1e99999999999999999999`, problem: "a number with an exponent beyond 400"},
		{name: "too deep", text: strings.Repeat("[", 33) + strings.Repeat("]", 33), problem: "nested deeper than 32"},
		{name: "too many values", text: "[" + strings.Repeat("0,", 10_000) + "0]", problem: "more than 10000 values"},
		{name: "too long", text: `"` + strings.Repeat("x", 1<<20) + `"`, problem: "longer than 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Decode([]byte(c.text), Limits{})
			if c.problem == "" {
				if err != nil || !reflect.DeepEqual(got, c.want) {
					t.Fatalf("got %#v, %v; want %#v", got, err, c.want)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Problem != c.problem {
				t.Fatalf("got %#v, %v; want the problem %q", got, err, c.problem)
			}
		})
	}
}

func TestDecodeObjectRefusesOtherValues(t *testing.T) {
	for _, text := range []string{`[]`, `"x"`, `null`, `1`} {
		if _, err := DecodeObject([]byte(text), Limits{}); err == nil {
			t.Errorf("%s is no object", text)
		}
	}
}

func TestDepthLimitIsExact(t *testing.T) {
	limits := Limits{MaxDepth: 3}
	if _, err := Decode([]byte(`[[{}]]`), limits); err != nil {
		t.Errorf("depth 3 of 3: %v", err)
	}
	if _, err := Decode([]byte(`[[{"a":[]}]]`), limits); err == nil {
		t.Error("depth 4 of 3 was read")
	}
}

// What is accepted, encoding/json accepts with the same value; writing it and reading it again changes
// nothing; and the limits hold.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,"x",null,true]}`, `{"a":1,"a":2}`, `"\ud800"`, `[[[[]]]]`, `1e999`, `1e309`, `1e-400`, `{"\u0061":1,"a":2}`, `{"é":"\ud83d\ude00"}`, ` [ 1 , 2 ] `, `"\u0000"`, `1E+2`, `[1e308,0.1]`, `[{"a":{"b":[]}}]`, "\xff", `{}x`, `-0`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		got, err := Decode(text, Limits{MaxDepth: 8, MaxBytes: 4096, MaxValues: 200})
		if !bytes.Equal(text, before) {
			t.Fatal("reading changed the text")
		}
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok || got != nil {
				t.Fatalf("%#v, %T", got, err)
			}
			return
		}
		if depth, values := extent(got); len(text) > 4096 || depth > 8 || values > 200 {
			t.Fatalf("%d bytes, %d values, %d deep: beyond the limits", len(text), values, depth)
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%#v; encoding/json says %#v, %v", got, want, err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatalf("encoding/json with doubles: %v", err)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		reread, err := Decode(again, Limits{MaxDepth: 8})
		if err != nil || !reflect.DeepEqual(reread, got) {
			t.Fatalf("%s reads as %#v, %v", again, reread, err)
		}
	})
}

// extent is how deep a value is nested and how many values it holds, itself included.
func extent(value any) (depth, values int) {
	inner := func(v any) {
		d, n := extent(v)
		depth, values = max(depth, d+1), values+n
	}
	switch v := value.(type) {
	case map[string]any:
		depth = 1
		for _, member := range v {
			inner(member)
		}
	case []any:
		depth = 1
		for _, element := range v {
			inner(element)
		}
	}
	return depth, values + 1
}

func BenchmarkDecode(b *testing.B) {
	text := []byte(`{"iss":"https://idp.example","sub":"5ba552d67","aud":["orders"],"exp":1795460000,"iat":1795459100,"jti":"dbe39bf3a3ba4238a513f51d6e1691c4","client_id":"s6BhdRkqt3","scope":"openid profile reademail"}`)
	b.Run("strictjson", func(b *testing.B) {
		for b.Loop() {
			if _, err := Decode(text, Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			var v map[string]any
			if err := json.Unmarshal(text, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
