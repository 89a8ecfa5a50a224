package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kept are what a record is for. They hold nothing of a person, and no mask takes them out: a pointer to one of them, or
// to what they lie in, removes the rest.
var kept = [][]string{
	{"result", "allow"}, {"result", "reasons", "*", "code"}, {"result", "reasons", "*", "enforcement"},
	{"input", "verification", "status"}, {"input", "verification", "key", "thumbprint"}, {"input", "time"},
}

// remove takes out of a record what JSON pointers below /input and /result lead to, and lists the pointers as erased. It
// reads and writes the record anew, and is only for masks that have such pointers. The members' order is another then.
func remove(record []byte, pointers []string) ([]byte, error) {
	var event map[string]any
	decoder := json.NewDecoder(bytes.NewReader(record))
	decoder.UseNumber()
	if err := decoder.Decode(&event); err != nil {
		return nil, err
	}
	list, _ := event["erased"].([]any)
	var unnamed int64
	for _, pointer := range pointers {
		path, err := parsePointer(pointer)
		if err != nil {
			return nil, err
		}
		switch {
		case !takeOut(event, path, nil) || slices.Contains(list, any(pointer)):
		case len(list) < mostListed && !slices.ContainsFunc(path, func(name string) bool { return !plain(name, longestName, longestRun) }):
			list = append(list, pointer)
		default:
			unnamed++
		}
	}
	if custom, _ := event["custom"].(map[string]any); unnamed > 0 && custom != nil {
		if of, ok := custom["assay"].(map[string]any); ok {
			before, _ := of["erased_unnamed"].(json.Number)
			counted, _ := before.Int64() // none: 0
			of["erased_unnamed"] = counted + unnamed
		}
	}
	if len(list) > 0 {
		event["erased"] = list
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(event); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// parsePointer reads a JSON pointer (RFC 6901) to or below /input or /result.
func parsePointer(pointer string) ([]string, error) {
	rest, ok := strings.CutPrefix(pointer, "/")
	if !ok {
		return nil, fmt.Errorf("%q is no JSON pointer", pointer)
	}
	path := strings.Split(rest, "/")
	for i, name := range path {
		path[i] = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
	}
	if path[0] != "input" && path[0] != "result" {
		return nil, fmt.Errorf("%q does not begin with /input or /result", pointer)
	}
	return path, nil
}

// takeOut removes what path leads to from node, which lies at the path from above. It tells whether anything went.
func takeOut(node any, path, above []string) bool {
	if len(path) == 0 {
		return false
	}
	name := path[0]
	here := append(slices.Clone(above), name)
	var child any
	switch node := node.(type) {
	case map[string]any:
		var present bool
		if child, present = node[name]; !present {
			return false
		}
		if len(path) == 1 && !keeps(here) {
			delete(node, name)
			return true
		}
	case []any:
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= len(node) {
			return false
		}
		child = node[i]
		if len(path) == 1 && !keeps(here) {
			node[i] = nil // the others keep their places
			return true
		}
	default:
		return false
	}
	if len(path) > 1 {
		return takeOut(child, path[1:], here)
	}
	return takeRest(child, here)
}

// takeRest removes everything below a node but what is kept.
func takeRest(node any, at []string) bool {
	took := false
	switch node := node.(type) {
	case map[string]any:
		for name := range node {
			took = takeOut(node, []string{name}, at) || took
		}
	case []any:
		for i := range node {
			took = takeOut(node, []string{strconv.Itoa(i)}, at) || took
		}
	}
	return took
}

// keeps tells whether a path is, or leads to, what a record is for.
func keeps(path []string) bool {
	return slices.ContainsFunc(kept, func(whole []string) bool {
		if len(path) > len(whole) {
			return false
		}
		for i, name := range path {
			if whole[i] != name && whole[i] != "*" {
				return false
			}
		}
		return true
	})
}
