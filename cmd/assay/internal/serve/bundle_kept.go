package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/assaypdp/assay/bundles"
)

// keptBundles is the state directory: marks/ holds the highest sequences, bundles/ the archive of each bundle that
// was last in force, beside what its server called it. Every file is replaced in one step. What is kept is believed
// no more than what comes from the source: it is verified anew when it is loaded.
type keptBundles struct {
	dir   string
	marks *bundles.Marks
}

// keptAbout stands beside an archive.
type keptAbout struct {
	Digest   string `json:"digest"`
	Location string `json:"location"`
	ETag     string `json:"etag,omitempty"`
}

func openKept(dir string) (*keptBundles, error) {
	marks, err := bundles.OpenMarks(filepath.Join(dir, "marks"))
	if err != nil {
		return nil, fmt.Errorf("policy.state_dir: %w", err)
	}
	k := &keptBundles{dir: filepath.Join(dir, "bundles"), marks: marks}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return nil, fmt.Errorf("policy.state_dir: %w", err)
	}
	return k, nil
}

func (k *keptBundles) archive(name string) string { return filepath.Join(k.dir, name+".tar.gz") }
func (k *keptBundles) about(name string) string   { return filepath.Join(k.dir, name+".json") }

// load gives what was kept; no Bundle where nothing was.
func (k *keptBundles) load(ctx context.Context, p *part) (bundles.Loaded, error) {
	archive, err := os.ReadFile(k.archive(p.name))
	if errors.Is(err, fs.ErrNotExist) {
		return bundles.Loaded{}, nil
	}
	if err != nil {
		return bundles.Loaded{}, err
	}
	b, err := bundles.ReadKept(ctx, archive, p.config)
	if err != nil {
		return bundles.Loaded{}, err
	}
	loaded := bundles.Loaded{Bundle: b, Archive: archive}
	// Without it the bundle is fetched once more, which harms nobody.
	var about keptAbout
	if text, err := os.ReadFile(k.about(p.name)); err == nil && json.Unmarshal(text, &about) == nil &&
		about.Digest == b.Digest && about.Location == p.config.Location {
		loaded.ETag = about.ETag
	}
	return loaded, nil
}

// save keeps a bundle that is in force, and raises its mark: first, so that a crash between leaves an older archive
// that is refused, and never one that could be rolled back.
func (k *keptBundles) save(p *part, loaded bundles.Loaded) error {
	if err := k.marks.Raise(loaded.Bundle); err != nil {
		return err
	}
	text, err := json.Marshal(keptAbout{Digest: loaded.Bundle.Digest, Location: p.config.Location, ETag: loaded.ETag})
	if err != nil {
		return err
	}
	if err := bundles.WriteFile(k.archive(p.name), loaded.Archive); err != nil {
		return err
	}
	return bundles.WriteFile(k.about(p.name), text)
}
