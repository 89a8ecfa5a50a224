package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
)

// decode reads a verdict out of the entry point's value. It accepts exactly the documented members with
// exactly their types; for anything else it gives the zero Verdict, a deny, and an error that wraps ErrUndefined.
func decode(value ast.Value) (pdp.Verdict, error) {
	var v pdp.Verdict
	seen := make(map[string]bool, 5)
	err := members(value, "the decision", func(name string, member ast.Value) (err error) {
		seen[name] = true
		switch name {
		case "allow":
			v.Allow, err = boolean(member, name)
		case "reasons":
			v.Reasons, err = decodeReasons(member)
		case "claims":
			err = elements(member, name, func(path ast.Value) error {
				names, err := texts(path, "a path of claims")
				if err == nil && len(names) == 0 {
					return misshapen("a path of claims", "it is empty")
				}
				v.Claims = append(v.Claims, names)
				return err
			})
		case "obligations":
			err = members(member, name, func(name string, member ast.Value) (err error) {
				if name != "omit_claims" {
					return misshapen("obligations", "unknown member "+name)
				}
				v.Obligations.OmitClaims, err = texts(member, name)
				return err
			})
		case "cache_for_seconds":
			v.CacheForSeconds, err = seconds(member, name)
		case "unchanged_until":
			v.UnchangedUntil, err = seconds(member, name)
		default:
			return misshapen("the decision", "unknown member "+name)
		}
		return err
	})
	if err == nil && (!seen["allow"] || !seen["reasons"]) {
		err = misshapen("the decision", "allow and reasons are required")
	}
	if err != nil {
		return pdp.Verdict{}, err
	}
	return v, nil
}

func misshapen(what, why string) error { return fmt.Errorf("%w: %s: %s", ErrUndefined, what, why) }

// decodeReasons reads the reasons and puts denies first, then sorts by code and message: the order of an
// answer does not depend on that of a set.
func decodeReasons(value ast.Value) ([]pdp.Reason, error) {
	reasons := []pdp.Reason{}
	err := elements(value, "reasons", func(element ast.Value) error {
		reason, err := decodeReason(element)
		reasons = append(reasons, reason)
		return err
	})
	if err != nil {
		return nil, err
	}
	order := []pdp.Enforcement{pdp.Deny, pdp.Warn, pdp.Waived}
	slices.SortFunc(reasons, func(a, b pdp.Reason) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Enforcement), slices.Index(order, b.Enforcement)),
			strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message),
		)
	})
	return reasons, nil
}

func decodeReason(value ast.Value) (pdp.Reason, error) {
	var r pdp.Reason
	err := members(value, "a reason", func(name string, member ast.Value) (err error) {
		switch name {
		case "code":
			r.Code, err = str(member, name)
		case "message":
			r.Message, err = str(member, name)
		case "severity":
			var s string
			s, err = str(member, name)
			r.Severity = pdp.Severity(s)
		case "enforcement":
			var s string
			s, err = str(member, name)
			r.Enforcement = pdp.Enforcement(s)
		case "details":
			r.Details = make(map[string]any)
			err = members(member, name, func(name string, member ast.Value) (err error) {
				r.Details[name], err = detail(member)
				return err
			})
		case "controls":
			r.Controls, err = texts(member, name)
		default:
			return misshapen("a reason", "unknown member "+name)
		}
		return err
	})
	switch {
	case err != nil:
		return r, err
	case !IsCode(r.Code):
		return r, misshapen("a reason", "code is not of the form family.name")
	case r.Message == "":
		return r, misshapen("a reason", "it has no message")
	case !slices.Contains([]pdp.Severity{pdp.Low, pdp.Medium, pdp.High, pdp.Critical}, r.Severity):
		return r, misshapen("a reason", "severity is not low, medium, high or critical")
	case !slices.Contains([]pdp.Enforcement{pdp.Deny, pdp.Warn, pdp.Waived}, r.Enforcement):
		return r, misshapen("a reason", "enforcement is not deny, warn or waived")
	}
	return r, nil
}

// IsCode tells whether a code has the form family.name, of letters, digits, "_" and "-", perhaps with more dots.
func IsCode(code string) bool {
	if len(code) > 128 || !strings.Contains(code, ".") {
		return false
	}
	for word := range strings.SplitSeq(code, ".") {
		foreign := func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-')
		}
		if word == "" || strings.ContainsFunc(word, foreign) {
			return false
		}
	}
	return true
}

// detail is a number, a boolean, a name or a list of names.
func detail(value ast.Value) (any, error) {
	switch v := value.(type) {
	case ast.Number:
		return json.Number(v), nil
	case ast.Boolean:
		return bool(v), nil
	case ast.String:
		return string(v), nil
	case *ast.Array, ast.Set:
		return texts(v, "a detail")
	}
	return nil, misshapen("a detail", "it is not a number, a boolean, a name or a list of names")
}

func members(value ast.Value, what string, each func(name string, member ast.Value) error) error {
	o, ok := value.(ast.Object)
	if !ok {
		return misshapen(what, "an object is expected")
	}
	return o.Iter(func(name, member *ast.Term) error {
		s, ok := name.Value.(ast.String)
		if !ok {
			return misshapen(what, "a member's name is not a string")
		}
		return each(string(s), member.Value)
	})
}

func elements(value ast.Value, what string, each func(ast.Value) error) error {
	switch v := value.(type) {
	case ast.Set:
		return v.Iter(func(t *ast.Term) error { return each(t.Value) })
	case *ast.Array:
		return v.Iter(func(t *ast.Term) error { return each(t.Value) })
	}
	return misshapen(what, "a set or an array is expected")
}

func str(value ast.Value, what string) (string, error) {
	s, ok := value.(ast.String)
	if !ok {
		return "", misshapen(what, "a string is expected")
	}
	return string(s), nil
}

func texts(value ast.Value, what string) ([]string, error) {
	list := []string{}
	err := elements(value, what, func(element ast.Value) error {
		s, err := str(element, what)
		list = append(list, s)
		return err
	})
	return list, err
}

func boolean(value ast.Value, what string) (bool, error) {
	b, ok := value.(ast.Boolean)
	if !ok {
		return false, misshapen(what, "a boolean is expected")
	}
	return bool(b), nil
}

func seconds(value ast.Value, what string) (int64, error) {
	n, ok := value.(ast.Number)
	if ok {
		if whole, isWhole := n.Int64(); isWhole && whole >= 0 {
			return whole, nil
		}
	}
	return 0, misshapen(what, "a whole number, zero or more, is expected")
}
