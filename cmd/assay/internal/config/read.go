package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFileBytes bounds a configuration file; a larger one is a mistake.
const maxFileBytes = 1 << 20

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	Path string `json:"file,omitempty"` // empty where no file is to blame
	Line int    `json:"line,omitempty"` // 1-based; 0 where no line is to blame
	Key  string `json:"key,omitempty"`  // dotted key, such as issuers[0].keys; may be empty
	Text string `json:"message"`        // what is wrong and what to do
}

func (p Problem) String() string {
	text := p.Path
	if p.Line > 0 {
		text += fmt.Sprintf(":%d", p.Line)
	}
	for _, part := range []string{p.Key, p.Text} {
		if text != "" && part != "" {
			text += ": "
		}
		text += part
	}
	return text
}

// Error is all the problems of one file, in the order of their lines.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Read reads and checks a file. A configuration with problems is an *Error that holds all of them.
func Read(path string) (*Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("configuration file %s: %d bytes; at most %d are read", path, info.Size(), maxFileBytes)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	return Parse(path, text)
}

// Parse is Read for a text that is already there; path is used in messages and for relative paths.
func Parse(path string, text []byte) (*Config, error) {
	d := &document{path: path}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		d.yamlError(err)
		return nil, d.err()
	}
	c := unfilled()
	c.Path = path
	if len(file.Docs) > 1 {
		d.add(nil, "", "holds more than one YAML document; one is read")
		return nil, d.err()
	}
	if len(file.Docs) == 1 && file.Docs[0].Body != nil {
		d.root = file.Docs[0].Body
		if _, isNull := d.root.(*ast.NullNode); !isNull {
			d.unknown(d.root, reflect.TypeFor[Config](), "")
			decoder := yaml.NewDecoder(strings.NewReader(string(text)), yaml.CustomUnmarshaler(unmarshalDuration))
			if err := decoder.Decode(c); err != nil {
				d.yamlError(err) // what could not be decoded cannot be checked either
				return nil, d.err()
			}
		}
	}
	c.fill()
	c.resolve(filepath.Dir(path))
	d.check(c)
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// unmarshalDuration leaves what is no duration at its default: unknown has reported it, with its line.
func unmarshalDuration(d *Duration, text []byte) error {
	var s string
	if yaml.Unmarshal(text, &s) == nil {
		if parsed, err := time.ParseDuration(s); err == nil {
			*d = Duration(parsed)
		}
	}
	return nil
}

// document gathers the problems of one file.
type document struct {
	path     string
	root     ast.Node
	problems []Problem
}

func (d *document) add(node ast.Node, key, text string) {
	p := Problem{Path: d.path, Key: key, Text: text}
	if node != nil && node.GetToken() != nil {
		p.Line = node.GetToken().Position.Line
	}
	d.problems = append(d.problems, p)
}

// at blames the line of a dotted key, or of the nearest thing around it that is in the file.
func (d *document) at(key, format string, args ...any) {
	d.add(d.find(key), key, fmt.Sprintf(format, args...))
}

func (d *document) yamlError(err error) {
	p := Problem{Path: d.path, Text: err.Error()}
	if syntax, ok := errors.AsType[yaml.Error](err); ok {
		p.Text = syntax.GetMessage()
		if t := syntax.GetToken(); t != nil {
			p.Line = t.Position.Line
		}
	}
	d.problems = append(d.problems, p)
}

func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return &Error{d.problems}
}

// unknown reports every key that the type at its place does not have, and every duration that is none.
func (d *document) unknown(node ast.Node, t reflect.Type, key string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[Duration]() {
		if _, err := time.ParseDuration(strings.Trim(node.String(), `"' `)); err != nil {
			d.add(node, key, `not a duration; write it like "30s", "15m" or "24h"`)
		}
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		fields := fieldTypes(t)
		for _, member := range members(node) {
			name := member.Key.String()
			at := join(key, name)
			field, ok := fields[name]
			if !ok {
				d.add(member.Key, at, "unknown key"+suggestion(name, fields))
				continue
			}
			d.unknown(member.Value, field, at)
		}
	case reflect.Slice:
		if list, ok := node.(*ast.SequenceNode); ok {
			for i, value := range list.Values {
				d.unknown(value, t.Elem(), fmt.Sprintf("%s[%d]", key, i))
			}
		} else if t == reflect.TypeFor[Bundles]() {
			d.unknown(node, t.Elem(), key)
		}
	case reflect.Map:
		for _, member := range members(node) {
			d.unknown(member.Value, t.Elem(), join(key, member.Key.String()))
		}
	}
}

func members(node ast.Node) []*ast.MappingValueNode {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

func fieldTypes(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type)
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" && name != "-" {
			fields[name] = t.Field(i).Type
		}
	}
	return fields
}

// suggestion names the keys that do exist.
func suggestion(name string, fields map[string]reflect.Type) string {
	known := make([]string, 0, len(fields))
	for field := range fields {
		if strings.ReplaceAll(field, "_", "") == strings.ReplaceAll(strings.ToLower(name), "-", "") {
			return fmt.Sprintf("; did you mean %s?", field)
		}
		known = append(known, field)
	}
	slices.Sort(known)
	return "; known here: " + strings.Join(known, ", ")
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// find gives the node of a dotted key such as issuers[0].keys.file, or of the nearest parent that exists.
func (d *document) find(key string) ast.Node {
	node := d.root
	for _, step := range strings.FieldsFunc(strings.ReplaceAll(key, "[", ".["), func(r rune) bool { return r == '.' }) {
		next := child(node, step)
		if next == nil {
			return node
		}
		node = next
	}
	return node
}

func child(node ast.Node, step string) ast.Node {
	if list, ok := node.(*ast.SequenceNode); ok {
		var i int
		if _, err := fmt.Sscanf(step, "[%d]", &i); err == nil && i < len(list.Values) {
			return list.Values[i]
		}
		return nil
	}
	for _, member := range members(node) {
		if member.Key.String() == step {
			return member.Value
		}
	}
	return nil
}

// Recheck checks a configuration again that was changed after it was read, by a flag.
func (c *Config) Recheck() error {
	d := &document{path: cmp.Or(c.Path, "configuration")}
	d.check(c)
	return d.err()
}
