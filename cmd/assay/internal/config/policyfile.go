package config

import (
	"os"

	"github.com/goccy/go-yaml/parser"
)

// LineOf finds the line of a dotted key in a YAML file, or of the nearest thing around it; 0 where the file
// cannot be read. It lets a problem that was found in the data be shown in the file.
func LineOf(path, key string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil || len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return 0
	}
	d := &document{root: file.Docs[0].Body}
	if node := d.find(key); node != nil && node.GetToken() != nil {
		return node.GetToken().Position.Line
	}
	return 0
}
