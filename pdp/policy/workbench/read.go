package workbench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/open-policy-agent/opa/v1/util"

	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/strictjson"
)

// documentLimits bound data files and recorded inputs.
var documentLimits = strictjson.Limits{MaxBytes: 64 << 20, MaxDepth: 128, MaxValues: 5_000_000}

func readObject(text []byte) (map[string]any, error) {
	return strictjson.DecodeObject(text, documentLimits)
}

// Read reads one Rego file, or a directory as OPA reads the directory of a bundle: every .rego file, with those that end
// in _test.rego as tests, and every data.json, data.yaml and data.yml, which becomes the document at its directory's
// path. Names that begin with a dot are passed over. Names in the result are paths as the caller wrote them.
func Read(name string) (*Files, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	files := &Files{Modules: map[string][]byte{}, Tests: map[string][]byte{}}
	if !info.IsDir() {
		if !strings.HasSuffix(name, ".rego") {
			return nil, fmt.Errorf("%s: neither a directory nor a .rego file", name)
		}
		return files, files.add(name, "", filepath.Base(name), os.DirFS(filepath.Dir(name)))
	}
	directory := os.DirFS(name)
	err = fs.WalkDir(directory, ".", func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if at != "." && strings.HasPrefix(path.Base(at), ".") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		return files.add(filepath.Join(name, at), path.Dir(at), at, directory)
	})
	if err == nil && len(files.Modules)+len(files.Tests) == 0 && files.Data == nil {
		err = fmt.Errorf("%s: no .rego file and no data.json in it", name)
	}
	return files, err
}

// add reads one file; shown is its name in messages, below the path of the document that its directory stands for.
func (f *Files) add(shown, below, at string, from fs.FS) error {
	base := path.Base(at)
	isData := base == "data.json" || base == "data.yaml" || base == "data.yml"
	if !isData && !strings.HasSuffix(base, ".rego") {
		return nil
	}
	text, err := fs.ReadFile(from, at)
	if err != nil {
		return err
	}
	switch {
	case isData:
		return f.addData(shown, below, text)
	case strings.HasSuffix(base, "_test.rego"):
		f.Tests[shown] = text
	default:
		f.Modules[shown] = text
	}
	return nil
}

func (f *Files) addData(shown, below string, text []byte) error {
	var document map[string]any
	var err error
	if strings.HasSuffix(shown, ".json") {
		document, err = readObject(bytes.TrimSpace(text))
	} else {
		err = util.Unmarshal(text, &document)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", shown, err)
	}
	if below != "." && below != "" {
		for _, name := range reversed(strings.Split(below, "/")) {
			document = map[string]any{name: document}
		}
	}
	f.Data = policy.Merge(f.Data, document)
	return nil
}

func reversed(names []string) []string {
	backwards := make([]string, 0, len(names))
	for i := range names {
		backwards = append(backwards, names[len(names)-1-i])
	}
	return backwards
}

// Join puts several authors' files together. A file that is there twice is an error.
func Join(all ...*Files) (*Files, error) {
	joined := &Files{Modules: map[string][]byte{}, Tests: map[string][]byte{}}
	for _, files := range all {
		for _, pair := range []struct{ to, from map[string][]byte }{{joined.Modules, files.Modules}, {joined.Tests, files.Tests}} {
			for name, text := range pair.from {
				if _, twice := pair.to[name]; twice {
					return nil, errors.New(name + ": given twice")
				}
				pair.to[name] = text
			}
		}
		if files.Data != nil {
			joined.Data = policy.Merge(joined.Data, files.Data)
		}
	}
	return joined, nil
}
