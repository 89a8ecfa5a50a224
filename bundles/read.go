package bundles

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/loader/filter"
)

// Read reads an archive (.tar.gz) and checks everything that c demands. What is wrong with the bundle is a
// *RefusedError; other errors are src's, ctx's, or those of a mark or key that cannot be read. src is read up
// to its end or MaxBytes, and not closed.
func Read(ctx context.Context, src io.Reader, c ReadConfig) (*Bundle, error) {
	return c.read(ctx, func() (files, error) {
		archive, err := readAll(src, c.MaxBytes)
		if err != nil {
			return nil, err
		}
		return unpack(archive, c.budget())
	})
}

// ReadDir reads a directory as a bundle, with the same checks.
func ReadDir(ctx context.Context, dir string, c ReadConfig) (*Bundle, error) {
	return c.read(ctx, func() (files, error) { return readDir(dir, c.budget()) })
}

func (c *ReadConfig) complete() error {
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.MaxUnpackedBytes == 0 {
		c.MaxUnpackedBytes = UnpackedRatio * c.MaxBytes
	}
	if c.MaxFiles == 0 {
		c.MaxFiles = DefaultMaxFiles
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Capabilities == nil {
		c.Capabilities = deterministic()
	}
	if c.MaxBytes < 0 || c.MaxUnpackedBytes < 0 || c.MaxFiles < 0 {
		return errors.New("bundles: MaxBytes, MaxUnpackedBytes and MaxFiles must not be negative")
	}
	if c.Name != "" || c.Marks != nil {
		if err := CheckName(c.Name); err != nil {
			return err
		}
	}
	if c.Verify != nil {
		return c.Verify.Check()
	}
	return nil
}

func (c *ReadConfig) read(ctx context.Context, load func() (files, error)) (*Bundle, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all, err := load()
	var b *Bundle
	if err == nil {
		b, err = c.check(ctx, all)
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		refused.Name = c.Name
		return nil, refused // alone, not joined with what happened while closing
	}
	return b, err
}

// check goes from what costs nothing and believes nothing to what parses.
func (c *ReadConfig) check(ctx context.Context, all files) (*Bundle, error) {
	b := &Bundle{Name: c.Name, Digest: all.digest()}
	if err := checkKinds(all); err != nil {
		return nil, err
	}
	if c.Verify != nil {
		kid, err := c.Verify.verify(all)
		if err != nil {
			return nil, err
		}
		b.Signed, b.KeyID = true, kid
	}
	if err := checkJSON(all); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Signatures were checked above: OPA would choose the verifier by a field that nothing signs.
	parsed, err := bundle.NewCustomReader(&reading{files: all, names: all.names()}).
		WithSkipBundleVerification(true).WithLazyLoadingMode(false).WithProcessAnnotations(true).
		WithCapabilities(c.Capabilities).WithRegoVersion(ast.RegoV1).
		WithSizeLimitBytes(c.MaxUnpackedBytes).Read()
	if err != nil {
		return nil, refuseParsed(err)
	}
	if err := c.fill(b, &parsed); err != nil {
		return nil, err
	}
	if c.Marks != nil {
		if err := c.Marks.Check(b); err != nil {
			return nil, err
		}
	}
	return b, ctx.Err()
}

// refuseParsed sorts what OPA's reader finds wrong. Its errors have no types.
func refuseParsed(err error) *RefusedError {
	text := err.Error()
	var syntax ast.Errors
	switch {
	case strings.HasPrefix(text, "manifest roots "), strings.HasPrefix(text, "manifest has overlapped roots"):
		return refuse(ReasonRoots, "%v", err)
	case errors.As(err, &syntax):
		return &RefusedError{Reason: ReasonMalformed, Detail: syntaxErrors(syntax), Err: err}
	case strings.HasPrefix(text, "bundle load failed on "): // a data file; what follows may quote it
		file, _, _ := strings.Cut(strings.TrimPrefix(text, "bundle load failed on "), ":")
		return refuse(ReasonMalformed, "%s cannot be read as data", strings.TrimPrefix(file, "/"))
	}
	return refuse(ReasonMalformed, "%v", err)
}

// syntaxErrors gives the first few with their lines, without the text of the line, which may be of any length.
func syntaxErrors(all ast.Errors) string {
	const most, longest = 5, 200
	var parts []string
	for i, e := range all {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(all)-most))
			break
		}
		at, message := "", strings.ToValidUTF8(e.Message[:min(len(e.Message), longest)], "")
		if e.Location != nil {
			at = fmt.Sprintf("%s:%d: ", strings.TrimPrefix(e.Location.File, "/"), e.Location.Row)
		}
		parts = append(parts, at+message)
	}
	return strings.Join(parts, "; ")
}

// fill moves what OPA read into b, and checks what OPA does not.
func (c *ReadConfig) fill(b *Bundle, parsed *bundle.Bundle) error {
	m := &parsed.Manifest
	b.Revision, b.Roots, b.Data, b.Metadata = m.Revision, *m.Roots, parsed.Data, m.Metadata
	b.Modules, b.Tests = make(map[string][]byte), make(map[string][]byte)
	if err := b.readMetadata(); err != nil {
		return err
	}
	if !b.NotAfter.IsZero() && !c.AllowExpired && c.Now().After(b.NotAfter) {
		return refuse(ReasonExpired, "its not_after was %s; build and sign it anew", b.NotAfter.Format(time.RFC3339))
	}
	if err := checkRegoVersions(m); err != nil {
		return err
	}
	for i := range parsed.Modules {
		if err := c.addModule(b, &parsed.Modules[i]); err != nil {
			return err
		}
	}
	return c.checkAllowedRoots(b, parsed)
}

func (c *ReadConfig) addModule(b *Bundle, module *bundle.ModuleFile) error {
	name := strings.TrimPrefix(module.Path, "/")
	if err := checkCalls(name, module.Parsed, c.Capabilities); err != nil {
		return err
	}
	if !strings.HasSuffix(name, "_test.rego") {
		b.Modules[name] = module.Raw
		return nil
	}
	// Stock OPA loads tests like everything else. Here they are not in force, so nothing that decides may hide there.
	if pkg := module.Parsed.Package.Path.String(); strings.HasPrefix(pkg, "data.assay.") && !strings.HasSuffix(pkg, "_test") {
		return refuse(ReasonMalformed, "%s is a test by its name, and would not be in force, but defines %s; "+
			"call the package %s_test or the file otherwise", name, pkg, strings.TrimPrefix(pkg, "data."))
	}
	b.Tests[name] = module.Raw
	return nil
}

// readMetadata reads metadata.sequence and metadata.not_after. What is there in another shape is refused: passed
// over, it would protect nobody.
func (b *Bundle) readMetadata() error {
	if value, there := b.Metadata["sequence"]; there {
		n, ok := value.(json.Number)
		sequence, err := n.Int64()
		if !ok || err != nil || sequence < 1 {
			return refuse(ReasonMalformed, "the manifest's metadata.sequence is no whole number from 1 on")
		}
		b.Sequence = sequence
	}
	if value, there := b.Metadata["not_after"]; there {
		text, _ := value.(string)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return refuse(ReasonMalformed, `the manifest's metadata.not_after is no time such as "2030-01-31T00:00:00Z"`)
		}
		b.NotAfter = at.UTC()
	}
	return nil
}

func checkRegoVersions(m *bundle.Manifest) error {
	old := m.RegoVersion != nil && *m.RegoVersion != 1
	for _, v := range m.FileRegoVersions {
		old = old || v != 1
	}
	if old {
		return refuse(ReasonMalformed, "its manifest says that it is not Rego v1; convert it with `opa fmt --rego-v1 --write` and build it anew")
	}
	return nil
}

func (c *ReadConfig) checkAllowedRoots(b *Bundle, parsed *bundle.Bundle) error {
	if c.AllowedRoots == nil {
		return nil
	}
	allowed := func(p string) bool { return bundle.RootPathsContain(c.AllowedRoots, p) }
	if len(b.Roots) != 1 || b.Roots[0] != "" {
		for _, root := range b.Roots {
			if !allowed(root) {
				return refuse(ReasonRoots, "it claims %q; it may claim what lies below %s", root, strings.Join(c.AllowedRoots, ", "))
			}
		}
		return nil // OPA's reader has held modules and data against the roots
	}
	for i := range parsed.Modules {
		m := &parsed.Modules[i]
		if p := refPath(m.Parsed.Package.Path); !allowed(p) {
			return refuse(ReasonRoots, "%s defines %q; it may define what lies below %s", strings.TrimPrefix(m.Path, "/"), p, strings.Join(c.AllowedRoots, ", "))
		}
	}
	if at, outside := outside(b.Data, "", c.AllowedRoots); outside {
		return refuse(ReasonRoots, "it has data at %q; it may have some below %s", at, strings.Join(c.AllowedRoots, ", "))
	}
	return nil
}

// outside finds data that lies below none of the roots: the way to a root is no data.
func outside(node any, at string, roots []string) (string, bool) {
	if at != "" && bundle.RootPathsContain(roots, at) {
		return "", false
	}
	object, ok := node.(map[string]any)
	leads := at == ""
	for _, root := range roots {
		leads = leads || strings.HasPrefix(root, at+"/")
	}
	if !ok || !leads {
		return at, true
	}
	for key, value := range object {
		if at, is := outside(value, strings.TrimPrefix(at+"/"+key, "/"), roots); is {
			return at, true
		}
	}
	return "", false
}

// refPath turns data.a.b into "a/b".
func refPath(ref ast.Ref) string {
	var parts []string
	for _, term := range ref[1:] {
		if s, ok := term.Value.(ast.String); ok {
			parts = append(parts, string(s))
		}
	}
	return strings.Join(parts, "/")
}

// checkKinds refuses what a bundle for Assay may not hold, by the files' names alone.
func checkKinds(all files) error {
	for _, name := range all.names() {
		base := path.Base(name)
		switch {
		case base == bundle.WasmFile, base == bundle.PlanFile, base == bundle.PlanProtoFile:
			return refuse(ReasonCapability, "%s is compiled code; build the bundle with Rego alone (`opa build --target rego`, or `assay bundle build`)", name)
		case base == "patch.json":
			return refuse(ReasonMalformed, "%s makes it a delta bundle, which nobody can sign; send the whole", name)
		case strings.HasSuffix(base, manifestFile) && name != manifestFile,
			strings.HasSuffix(base, protoManifestFile) && name != protoManifestFile,
			base == signaturesFile && name != signaturesFile:
			return refuse(ReasonPath, "%s: OPA would take it for the bundle's %s, which belongs at the top", name, strings.TrimPrefix(base, "/"))
		}
	}
	return nil
}

// checkJSON refuses JSON that two readers may understand differently: names there twice, text after the value,
// broken UTF-8.
func checkJSON(all files) error {
	for _, name := range all.names() {
		if base := path.Base(name); base != "data.json" && name != manifestFile {
			continue
		}
		if err := strictJSON(all[name]); err != nil {
			return refuse(ReasonMalformed, "%s: %v", name, err)
		}
	}
	return nil
}

// strictJSON takes exactly one JSON text (RFC 8259) without duplicate names.
func strictJSON(text []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	if err := d.SkipValue(); err != nil {
		return syntax(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("text follows the value")
	}
	return nil
}

// syntax leaves out what the text holds.
func syntax(err error) error {
	var s *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errors.New("a name is there twice in one object")
	case errors.As(err, &s):
		return fmt.Errorf("no good JSON at byte %d", s.ByteOffset)
	}
	return errors.New("no good JSON")
}

// reading hands files that were read already to OPA's reader.
type reading struct {
	files files
	names []string
}

func (l *reading) NextFile() (*bundle.Descriptor, error) {
	if len(l.names) == 0 {
		return nil, io.EOF
	}
	name := l.names[0]
	l.names = l.names[1:]
	return bundle.NewDescriptor("/"+name, "/"+name, bytes.NewReader(l.files[name])), nil
}

// The rest of OPA's interface is about files that are still to be read.

func (l *reading) WithFilter(filter.LoaderFilter) bundle.DirectoryLoader   { return l }
func (l *reading) WithPathFormat(bundle.PathFormat) bundle.DirectoryLoader { return l }
func (l *reading) WithSizeLimitBytes(int64) bundle.DirectoryLoader         { return l }
func (l *reading) WithFollowSymlinks(bool) bundle.DirectoryLoader          { return l }
