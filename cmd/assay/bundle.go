package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/pdp/policy"
)

func newBundle(e env) *cobra.Command {
	return group("bundle", "Build, sign, verify, look into and publish policy bundles",
		newBundleBuild(e), newBundleSign(e), newBundleVerify(e), newBundleInspect(e), newBundlePush(e))
}

// bundleView is a bundle as it is shown to people and programs: what it is, not what is in its files.
type bundleView struct {
	Revision          string         `json:"revision"`
	Digest            string         `json:"digest"`
	Roots             []string       `json:"roots"`
	Sequence          int64          `json:"sequence,omitempty"`
	NotAfter          *time.Time     `json:"not_after,omitempty"`
	Signed            bool           `json:"signature_verified"`
	KeyID             string         `json:"kid,omitempty"`
	Algorithm         string         `json:"alg,omitempty"`
	RollbackProtected bool           `json:"rollback_protected"`
	Modules           []string       `json:"modules"`
	Tests             []string       `json:"tests"`
	Data              []string       `json:"data"`
	Metadata          map[string]any `json:"metadata,omitempty"`
}

func viewBundle(b *bundles.Bundle) bundleView {
	v := bundleView{
		Revision: b.Revision, Digest: b.Digest, Roots: b.Roots, Sequence: b.Sequence, Signed: b.Signed, KeyID: b.KeyID,
		RollbackProtected: b.RollbackProtected(), Metadata: b.Metadata,
		Modules: bundles.Paths(b.Modules), Tests: bundles.Paths(b.Tests), Data: b.DataPaths(),
	}
	if !b.NotAfter.IsZero() {
		v.NotAfter = &b.NotAfter
	}
	return v
}

// print writes the view as a table, or as JSON.
func (v *bundleView) print(w io.Writer, format output, now time.Time) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(v)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(table, "%s\t%s\n", name, value) // into memory; Flush says what fails
		}
	}
	row("revision", v.Revision)
	row("digest", v.Digest)
	row("roots", rootNames(v.Roots))
	if v.Sequence > 0 {
		row("sequence", fmt.Sprint(v.Sequence))
	}
	if v.NotAfter != nil {
		until := v.NotAfter.Format(time.RFC3339)
		if now.After(*v.NotAfter) {
			until += " (expired)"
		}
		row("not after", until)
	}
	row("signature", v.signature())
	if v.Signed && !v.RollbackProtected {
		row("roll-back", "not protected: it has no sequence")
	}
	row("modules", strings.Join(v.Modules, "\n\t"))
	row("tests", strings.Join(v.Tests, "\n\t"))
	row("data", strings.Join(v.Data, "\n\t"))
	return table.Flush()
}

func (v *bundleView) signature() string {
	switch {
	case v.Signed:
		return "good, by key " + v.KeyID
	case v.KeyID != "" || v.Algorithm != "":
		return fmt.Sprintf("not verified; says that it is %s by key %s", v.Algorithm, v.KeyID)
	}
	return "none"
}

func rootNames(roots []string) string {
	if len(roots) == 1 && roots[0] == "" {
		return "everything (the manifest has no roots)"
	}
	return strings.Join(roots, ", ")
}

// readBundle reads an archive or a directory.
func readBundle(ctx context.Context, path string, c bundles.ReadConfig) (*bundles.Bundle, error) {
	c.Capabilities = policy.Capabilities()
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return bundles.ReadDir(ctx, path, c)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := bundles.Read(ctx, file, c)
	return b, errors.Join(err, file.Close())
}

// readArchive reads a file that can be a bundle, whole.
func readArchive(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	n, err := io.Copy(&archive, io.LimitReader(file, bundles.DefaultMaxBytes+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if n > bundles.DefaultMaxBytes {
		return nil, fmt.Errorf("%s is longer than %d bytes; no server would load it", path, bundles.DefaultMaxBytes)
	}
	return archive.Bytes(), nil
}
