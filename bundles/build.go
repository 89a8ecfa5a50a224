package bundles

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// BuildConfig says what to build a bundle from.
type BuildConfig struct {
	// Dir holds the Rego files and data files (data.json, data.yaml, data.yml) under the paths that they have below
	// data, and perhaps a .manifest, whose revision, roots and metadata stand unless the fields below replace
	// them. Required.
	Dir string
	// Roots are what the bundle owns below data; default the manifest's, else OrganisationRoots.
	Roots []string
	// Revision is free text; default the manifest's, else the first 12 hex digits of the digest of what the files hold.
	Revision string
	// Sequence numbers the bundles of one name, from 1; default the manifest's, else none.
	Sequence int64
	// NotAfter is the last moment at which the bundle may be loaded, in whole seconds; default the manifest's, else none.
	NotAfter time.Time
	// WithoutTests leaves …_test.rego out. Tests in a bundle can be run before it goes into force.
	WithoutTests bool
	// AllowedRoots, Capabilities, MaxBytes, MaxUnpackedBytes and MaxFiles: as in ReadConfig, to find at build what
	// would be refused at load.
	AllowedRoots               []string
	Capabilities               *ast.Capabilities
	MaxBytes, MaxUnpackedBytes int64
	MaxFiles                   int
}

// Built is a new bundle, not signed yet.
type Built struct {
	// Archive is the bundle in OPA's format (.tar.gz). The same files and configuration give the same bytes.
	Archive []byte
	// Bundle is what Read makes of it.
	Bundle *Bundle
	// LeftOut are files of the directory that have no place in a bundle.
	LeftOut []string
}

// Build makes a bundle and reads it back with every check but the signature's, so that what is refused at load
// is refused here, as a *RefusedError, too. It writes no time and no owner into the archive, and files in the order of
// their names: one input gives one output, byte for byte, as long as the same release of Assay compresses it.
func Build(ctx context.Context, c BuildConfig) (*Built, error) {
	read := ReadConfig{MaxBytes: c.MaxBytes, MaxUnpackedBytes: c.MaxUnpackedBytes, MaxFiles: c.MaxFiles,
		AllowedRoots: c.AllowedRoots, Capabilities: c.Capabilities, AllowExpired: true}
	if err := read.complete(); err != nil {
		return nil, err
	}
	if c.Sequence < 0 {
		return nil, fmt.Errorf("bundles: sequence %d; count from 1", c.Sequence)
	}
	found, err := readDir(c.Dir, read.budget())
	if err != nil {
		return nil, err
	}
	made := &Built{}
	kept := make(files)
	for _, name := range found.names() {
		switch {
		case name == manifestFile, name == signaturesFile:
		case c.WithoutTests && strings.HasSuffix(name, "_test.rego"):
		case strings.HasSuffix(name, ".rego"), slices.Contains([]string{"data.json", "data.yaml", "data.yml"}, path.Base(name)):
			kept[name] = found[name]
		default:
			made.LeftOut = append(made.LeftOut, name)
		}
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("bundles: %s holds no .rego file, data.json or data.yaml; nothing to build", c.Dir)
	}
	if kept[manifestFile], err = c.manifest(found[manifestFile], kept); err != nil {
		return nil, err
	}
	if made.Archive, err = pack(kept); err != nil {
		return nil, err
	}
	made.Bundle, err = Read(ctx, bytes.NewReader(made.Archive), read)
	return made, err
}

// manifest lays the configuration over the directory's own manifest.
func (c *BuildConfig) manifest(text []byte, kept files) ([]byte, error) {
	var m bundle.Manifest
	if text != nil {
		if err := strictJSON(text); err != nil {
			return nil, refuse(ReasonMalformed, "%s: %v", manifestFile, err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		d.DisallowUnknownFields()
		if err := d.Decode(&m); err != nil {
			return nil, refuse(ReasonMalformed, "%s: %v", manifestFile, err)
		}
	}
	switch {
	case c.Roots != nil:
		m.Roots = &c.Roots
	case m.Roots == nil:
		roots := OrganisationRoots()
		m.Roots = &roots
	}
	if c.Revision != "" {
		m.Revision = c.Revision
	}
	if m.Revision == "" {
		m.Revision = strings.TrimPrefix(kept.digest(), "sha256:")[:12]
	}
	if m.Metadata == nil {
		m.Metadata = make(map[string]any)
	}
	if c.Sequence > 0 {
		m.Metadata["sequence"] = c.Sequence
	}
	if !c.NotAfter.IsZero() {
		m.Metadata["not_after"] = c.NotAfter.UTC().Format(time.RFC3339)
	}
	if m.RegoVersion == nil {
		m.SetRegoVersion(ast.RegoV1) // an older OPA would take it for Rego v0
	}
	return json.Marshal(m)
}

// pack writes the archive, in the order of names and with nothing in it that changes from one time to the next.
// Names start with a slash, as OPA writes them.
func pack(all files) ([]byte, error) {
	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	w := tar.NewWriter(compressed)
	for _, name := range all.names() {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: "/" + name, Mode: 0o644, Size: int64(len(all[name]))}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("bundles: %w", err)
		}
		if _, err := w.Write(all[name]); err != nil {
			return nil, fmt.Errorf("bundles: %w", err)
		}
	}
	if err := errors.Join(w.Close(), compressed.Close()); err != nil {
		return nil, fmt.Errorf("bundles: %w", err)
	}
	return archive.Bytes(), nil
}
