package masking

import (
	"net/url"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// requestMembers are the parts of input.request that a mask may clear; the others are not its to clear.
var requestMembers = []string{"action", "resource", "path", "client_ip", "context"}

// decode reads the value of Entrypoint or Usual: an object of no other members than these, each a set or an array.
func decode(document string, value ast.Value) (Mask, error) {
	var mask Mask
	object, ok := value.(ast.Object)
	if !ok {
		return mask, misshapen(document, "it is no object")
	}
	err := object.Iter(func(name, member *ast.Term) (err error) {
		switch member := member.Value; name.Value {
		case ast.String("clear"):
			mask.Clear, err = paths(document, "clear", member)
		case ast.String("pseudonymise"):
			mask.Pseudonymise, err = paths(document, "pseudonymise", member)
		case ast.String("clear_request"):
			mask.ClearRequest, err = requestPaths(document, "clear_request", member)
		case ast.String("pseudonymise_request"):
			mask.PseudonymiseRequest, err = requestPaths(document, "pseudonymise_request", member)
		case ast.String("remove"):
			err = elements(document, "remove", member, func(element ast.Value) error {
				pointer, ok := element.(ast.String)
				if !ok {
					return misshapen(document, "remove holds something else than JSON pointers")
				}
				mask.Remove, err = appendPointer(mask.Remove, document, string(pointer))
				return err
			})
		default:
			return misshapen(document, "it has a member that is none of clear, pseudonymise, clear_request, pseudonymise_request and remove")
		}
		return err
	})
	if err != nil {
		return Mask{}, err
	}
	return mask, nil
}

func elements(document, what string, value ast.Value, each func(ast.Value) error) error {
	switch v := value.(type) {
	case ast.Set:
		return v.Iter(func(t *ast.Term) error { return each(t.Value) })
	case *ast.Array:
		return v.Iter(func(t *ast.Term) error { return each(t.Value) })
	}
	return misshapen(document, what+" is neither a set nor an array")
}

// paths reads arrays of names. A text with dots is no path: names of claims have dots themselves.
func paths(document, what string, value ast.Value) ([][]string, error) {
	var list [][]string
	err := elements(document, what, value, func(element ast.Value) error {
		array, ok := element.(*ast.Array)
		if !ok || array.Len() == 0 {
			return misshapen(document, what+` holds something else than paths, which are arrays of names such as ["act", "sub"]`)
		}
		path := make([]string, array.Len())
		for i := range path {
			name, ok := array.Elem(i).Value.(ast.String)
			if !ok {
				return misshapen(document, what+" holds a path with something else than names in it")
			}
			path[i] = string(name)
		}
		list = append(list, path)
		return nil
	})
	return list, err
}

func requestPaths(document, what string, value ast.Value) ([][]string, error) {
	list, err := paths(document, what, value)
	if err == nil && slices.ContainsFunc(list, func(path []string) bool { return !slices.Contains(requestMembers, path[0]) }) {
		err = misshapen(document, what+" names something else than action, resource, path, client_ip or context")
	}
	return list, err
}

// decodeLogMask reads rules as OPA's decision log has them: JSON pointers, and objects of op, path and value.
func decodeLogMask(value ast.Value) ([]string, error) {
	var pointers []string
	err := elements(LogMask, "it", value, func(element ast.Value) (err error) {
		path := element
		if rule, ok := element.(ast.Object); ok {
			if path, err = pathOf(rule); err != nil {
				return err
			}
		}
		pointer, ok := path.(ast.String)
		if !ok {
			return misshapen(LogMask, "it holds something else than JSON pointers and objects of op and path")
		}
		pointers, err = appendPointer(pointers, LogMask, string(pointer))
		return err
	})
	return pointers, err
}

func pathOf(rule ast.Object) (ast.Value, error) {
	var path ast.Value
	op := ""
	err := rule.Iter(func(name, member *ast.Term) error {
		switch name.Value {
		case ast.String("op"):
			text, _ := member.Value.(ast.String)
			op = string(text)
		case ast.String("path"):
			path = member.Value
		case ast.String("value"):
		default:
			return misshapen(LogMask, "a rule has a member that is none of op, path and value")
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case op != "remove" && op != "upsert":
		return nil, misshapen(LogMask, "op of a rule is neither remove nor upsert")
	case path == nil:
		return nil, misshapen(LogMask, "a rule has no path")
	}
	return path, nil
}

// How names are written in JSON pointers (RFC 6901 section 3). They are never changed.
var (
	escapes   = strings.NewReplacer("~", "~0", "/", "~1")
	unescapes = strings.NewReplacer("~0", "~", "~1", "/")
)

// appendPointer checks and adds a pointer, and, where it is percent-encoded, what it points at decoded. One below
// /nd_builtin_cache, which OPA's events have and records here have not, has nothing to take away.
func appendPointer(list []string, document, pointer string) ([]string, error) {
	names := strings.Split(pointer, "/")
	if names[0] != "" || len(names) < 2 || !slices.Contains([]string{"input", "result", "nd_builtin_cache"}, names[1]) {
		return nil, misshapen(document, "a path is no JSON pointer below /input or /result")
	}
	decoded := make([]string, len(names))
	for i, name := range names {
		if strings.Count(name, "~") != strings.Count(name, "~0")+strings.Count(name, "~1") {
			return nil, misshapen(document, `in a JSON pointer "~" must be written "~0"`)
		}
		plain, err := url.PathUnescape(unescapes.Replace(name))
		if err != nil {
			return nil, misshapen(document, `in a path "%" must be written "%25"`)
		}
		decoded[i] = escapes.Replace(plain)
	}
	if names[1] == "nd_builtin_cache" {
		return list, nil
	}
	list = append(list, pointer)
	if other := strings.Join(decoded, "/"); other != pointer {
		list = append(list, other)
	}
	return list, nil
}

// notTakenAway gives the paths of claims that no pointer takes away whole. To take the value out of the claims is not
// enough: what is cleared is cleared in the other places of a record, too, such as the token's id beside its jti.
func notTakenAway(clear [][]string, pointers []string) [][]string {
	for _, pointer := range pointers {
		names := strings.Split(pointer, "/")[1:]
		within := []string{"input", "token", "claims"}
		if n := min(len(names), len(within)); !slices.Equal(names[:n], within[:n]) {
			continue
		}
		taken := names[min(len(names), len(within)):]
		for i, name := range taken {
			taken[i] = unescapes.Replace(name)
		}
		covered := func(path []string) bool { return len(path) >= len(taken) && slices.Equal(path[:len(taken)], taken) }
		if slices.ContainsFunc(clear, covered) { // the list is shared
			clear = slices.DeleteFunc(slices.Clone(clear), covered)
		}
	}
	if len(clear) == 0 {
		return nil
	}
	return clear
}
