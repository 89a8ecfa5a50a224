// Package policies holds the Rego library by which Assay judges tokens, its default configuration and the
// schemas of both. It only embeds: what is compiled into the program is, byte for byte, what stock OPA tests
// in this directory. README.md says how the library is laid out and how to write rules beside it.
package policies

//go:generate go run ./internal/catalogue .

import (
	"embed"
	"io/fs"
	"strings"
)

// FS holds the modules with their tests, the default configuration, the schemas, the list of requirements and the
// catalogue, under their paths in this directory.
//
//go:embed assay schemas config.schema.json requirements.json CATALOGUE.json
var FS embed.FS

// DefaultsPath is where FS keeps what Defaults answers.
const DefaultsPath = "assay/config/data.json"

// Modules gives the Rego modules of the library, without its tests, by their path in this directory.
func Modules() map[string][]byte {
	modules := make(map[string][]byte)
	err := fs.WalkDir(FS, "assay", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".rego") || strings.HasSuffix(path, "_test.rego") {
			return err
		}
		modules[path], err = FS.ReadFile(path)
		return err
	})
	if err != nil {
		panic("policies: reading what is compiled in: " + err.Error()) // cannot happen: the files are part of the program
	}
	return modules
}

// Defaults gives the default configuration, a JSON object: data.assay.config before an organisation's own is
// merged into it (objects are merged, everything else is replaced).
func Defaults() []byte { return read(DefaultsPath) }

// ConfigSchema gives the JSON Schema (draft-07) of an organisation's configuration, and of the defaults.
func ConfigSchema() []byte { return read("config.schema.json") }

// InputSchema gives the JSON Schema (draft-07) of the input document.
func InputSchema() []byte { return read("schemas/input.json") }

// Requirements gives the requirements that rules name in their controls: {"requirements": {id: text}}.
func Requirements() []byte { return read("requirements.json") }

// Catalogue gives every reason code, with the examples of its rules, and what answers each requirement, as JSON:
// {"catalogue": {"reasons": […], "requirements": […], "detectors": […]}}. It is what CATALOGUE.md shows.
func Catalogue() []byte { return read("CATALOGUE.json") }

func read(path string) []byte {
	data, err := FS.ReadFile(path)
	if err != nil {
		panic("policies: reading what is compiled in: " + err.Error()) // cannot happen: the files are part of the program
	}
	return data
}
