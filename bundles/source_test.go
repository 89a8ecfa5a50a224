package bundles

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// delivery is what a source delivered.
type delivery struct {
	loaded Loaded
	err    error
}

// run runs a source until the test ends.
func run(t *testing.T, s Source) <-chan delivery {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	deliveries, done := make(chan delivery), make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(l Loaded, err error) error {
			select {
			case deliveries <- delivery{l, err}:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return deliveries
}

// next waits for a delivery that the test is about.
func next(t *testing.T, deliveries <-chan delivery, wanted func(delivery) bool) delivery {
	t.Helper()
	timeout := time.After(3 * time.Minute)
	for {
		select {
		case d := <-deliveries:
			if wanted(d) {
				return d
			}
		case <-timeout:
			t.Fatal("it was not delivered")
		}
	}
}

func revision(name string) func(delivery) bool {
	return func(d delivery) bool {
		return d.err == nil && d.loaded.Bundle != nil && d.loaded.Bundle.Revision == name
	}
}

func refusal(reason Reason) func(delivery) bool {
	return func(d delivery) bool {
		var refused *RefusedError
		return errors.As(d.err, &refused) && refused.Reason == reason
	}
}

func manifestOf(revision string) []byte {
	return []byte(`{"revision": "` + revision + `", "roots": ["assay/rules", "assay/config"]}`)
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := WriteFile(path, text); err != nil {
		t.Fatal(err)
	}
}

func source(t *testing.T, c SourceConfig) Source {
	t.Helper()
	if c.Read.Name == "" {
		c.Read.Name = "policy"
	}
	if c.Read.Now == nil {
		c.Read.Now = at(noon)
	}
	c.Poll = time.Hour // what is not noticed is not seen
	s, err := NewSource(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDirectoryIsWatched(t *testing.T) {
	dir := writeFiles(t, filepath.Join(t.TempDir(), "rules"), partner)
	write(t, filepath.Join(dir, ".manifest"), manifestOf("one"))
	deliveries := run(t, source(t, SourceConfig{Location: dir}))
	next(t, deliveries, revision("one"))

	write(t, filepath.Join(dir, ".manifest"), manifestOf("two"))
	next(t, deliveries, revision("two"))

	// In a directory that was not there before.
	writeFiles(t, dir, map[string]string{"assay/rules/more/deep/deep.rego": "package assay.rules.more.deep\n"})
	more := next(t, deliveries, func(d delivery) bool { return d.err == nil && len(d.loaded.Bundle.Modules) == 2 })
	writeFiles(t, dir, map[string]string{"assay/rules/more/deep/deep.rego": "package nobody.asked\n"})
	next(t, deliveries, refusal(ReasonRoots))
	writeFiles(t, dir, map[string]string{"assay/rules/more/deep/deep.rego": "package assay.rules.more.deep\n"})
	again := next(t, deliveries, func(d delivery) bool { return d.err == nil })
	if again.loaded.Bundle.Digest != more.loaded.Bundle.Digest {
		t.Error("the same files give another digest")
	}
	// What was delivered can be kept, and is the same bundle.
	kept, err := ReadKept(t.Context(), again.loaded.Archive, SourceConfig{Read: ReadConfig{Name: "policy", Now: at(noon)}})
	if err != nil || kept.Digest != again.loaded.Bundle.Digest {
		t.Errorf("the archive of a directory is %v, %v", kept, err)
	}
}

// A whole directory is put in the place of another by a symbolic link, as Kubernetes and careful people do.
func TestSwappedLinkIsSeen(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"one", "two"} {
		writeFiles(t, filepath.Join(root, "versions", name), partner)
		write(t, filepath.Join(root, "versions", name, ".manifest"), manifestOf(name))
	}
	current := filepath.Join(root, "current")
	link := func(to string) {
		t.Helper()
		if err := os.Symlink(filepath.Join("versions", to), current+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(current+".new", current); err != nil {
			t.Fatal(err)
		}
	}
	link("one")
	deliveries := run(t, source(t, SourceConfig{Location: current}))
	next(t, deliveries, revision("one"))
	link("two")
	next(t, deliveries, revision("two"))
	write(t, filepath.Join(root, "versions", "two", ".manifest"), manifestOf("three"))
	next(t, deliveries, revision("three"))
}

func TestArchiveIsWatchedAndHeldAgainstItsSignature(t *testing.T) {
	signer, stranger := newSigner(t, "ES256"), newSigner(t, "ES256")
	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	write(t, path, signed(t, build(t, BuildConfig{Revision: "one"}).Archive, signer))
	deliveries := run(t, source(t, SourceConfig{Location: path, Read: ReadConfig{Verify: trust(signer)}}))
	next(t, deliveries, revision("one"))

	two := build(t, BuildConfig{Revision: "two"}).Archive
	for _, refused := range []struct {
		name    string
		archive []byte
		reason  Reason
	}{
		{"no signature", two, ReasonUnsigned},
		{"a stranger's", signed(t, two, stranger), ReasonSignature},
		{"half of it", signed(t, two, signer)[:200], ReasonMalformed},
	} {
		write(t, path, refused.archive)
		d := next(t, deliveries, refusal(refused.reason))
		if named := d.err.(*RefusedError).Name; named != "policy" { //nolint:errorlint // a source's refusals are not wrapped
			t.Errorf("%s: the bundle's name is %q", refused.name, named)
		}
	}
	write(t, path, signed(t, two, signer))
	next(t, deliveries, revision("two"))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next(t, deliveries, func(d delivery) bool { return errors.Is(d.err, os.ErrNotExist) })
	write(t, path, signed(t, two, signer))
	next(t, deliveries, revision("two"))
}

func TestUnsignedMayBeTakenBesideSigned(t *testing.T) {
	signer, stranger := newSigner(t, "ES256"), newSigner(t, "ES256")
	archive := build(t, BuildConfig{Revision: "one"}).Archive
	for _, c := range []struct {
		name    string
		archive []byte
		signed  bool
		reason  Reason
	}{
		{"none", archive, false, ""},
		{"good", signed(t, archive, signer), true, ""},
		{"a stranger's", signed(t, archive, stranger), false, ReasonSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bundle.tar.gz")
			write(t, path, c.archive)
			loaded, err := source(t, SourceConfig{Location: path, UnsignedToo: true, Read: ReadConfig{Verify: trust(signer)}}).Load(t.Context())
			if c.reason != "" {
				wantRefused(t, err, c.reason)
				return
			}
			if err != nil || loaded.Bundle.Signed != c.signed {
				t.Fatalf("signed %+v, error %v", loaded.Bundle, err)
			}
		})
	}
}
