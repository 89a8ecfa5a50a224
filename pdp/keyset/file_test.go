package keyset

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

func fileSourceFor(t *testing.T, path string) Source {
	t.Helper()
	source, err := File(path, time.Hour) // only a noticed change makes it load
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "jwks.json")
	for name, tc := range map[string]struct {
		make func(path string) error
		says string
	}{
		"missing":       {func(string) error { return nil }, "no such file"},
		"a directory":   {func(p string) error { return os.Mkdir(p, 0o700) }, "not a regular file"},
		"a named pipe":  {func(p string) error { return syscall.Mkfifo(p, 0o600) }, "not a regular file"},
		"empty":         {func(p string) error { return os.WriteFile(p, nil, 0o600) }, "not a JWK Set"},
		"too long":      {func(p string) error { return os.WriteFile(p, make([]byte, 2*MaxJWKSBytes), 0o600) }, "longer than"},
		"PEM":           {func(p string) error { return os.WriteFile(p, []byte("-----BEGIN PUBLIC KEY-----"), 0o600) }, "not a JWK Set"},
		"a private key": {func(p string) error { return os.WriteFile(p, jwks(t, edMember(t, "k").with("d", "AA")), 0o600) }, "private key"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.RemoveAll(path))
			must(t, tc.make(path))
			c := Config{Issuers: []IssuerConfig{{Issuer: pdp.Issuer{ID: issuerA}, Source: fileSourceFor(t, path)}}}
			err := newSet(t, c).Load(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), issuerA) {
				t.Errorf("got %v; want an error that says %q and names the file and the issuer", err, tc.says)
			}
		})
	}
	if _, err := File("", 0); err == nil {
		t.Error("accepted no path")
	}
	if _, err := File(path, -1); err == nil {
		t.Error("accepted a negative period")
	}
}

func TestFileErrorsCanBeTold(t *testing.T) {
	_, err := fileSourceFor(t, filepath.Join(t.TempDir(), "missing")).Load(t.Context())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// watchedFile runs a set over a file, and gives a function that waits until the file's keys are as said,
// or a load has failed with a text.
func watchedFile(t *testing.T, path string) (await func(kid, failure string)) {
	t.Helper()
	events := make(chan LoadEvent, 1000)
	set := newSet(t, Config{
		Issuers: []IssuerConfig{{Issuer: pdp.Issuer{ID: issuerA}, Source: fileSourceFor(t, path)}},
		OnLoad:  func(e LoadEvent) { events <- e },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- set.Run(ctx); close(ended) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func(kid, failure string) {
		t.Helper()
		timeout := time.After(3 * time.Minute)
		for {
			if has(set.Trust(issuerA), kid) && (failure == "" || strings.Contains(set.Health()[0].Error, failure)) {
				return
			}
			select {
			case <-events:
			case err := <-ended:
				t.Fatalf("Run ended: %v", err)
			case <-timeout:
				t.Fatalf("key %q and failure %q were not seen; health: %+v", kid, failure, set.Health()[0])
			}
		}
	}
}

func TestFileIsWatched(t *testing.T) {
	dir := t.TempDir()
	path, next := filepath.Join(dir, "jwks.json"), filepath.Join(dir, "jwks.json.new")
	writeFile(t, path, jwks(t, edMember(t, "one")))
	await := watchedFile(t, path)
	await("one", "")

	writeFile(t, next, jwks(t, edMember(t, "two")))
	must(t, os.Rename(next, path))
	await("two", "")

	writeFile(t, path, jwks(t, edMember(t, "three")))
	await("three", "")

	writeFile(t, path, []byte(`{"keys":[{"kty":`))
	await("three", "not a JWK Set")

	must(t, os.Remove(path))
	await("three", "no such file")

	writeFile(t, path, jwks(t, edMember(t, "four")))
	await("four", "")
}

// A volume of Kubernetes: the file is a link into ..data, which is a link that is swapped.
func TestFileInAMountedVolumeIsWatched(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"one", "two"} {
		must(t, os.Mkdir(filepath.Join(dir, ".."+version), 0o700))
		writeFile(t, filepath.Join(dir, ".."+version, "jwks.json"), jwks(t, edMember(t, version)))
	}
	must(t, os.Symlink("..one", filepath.Join(dir, "..data")))
	must(t, os.Symlink("..data/jwks.json", filepath.Join(dir, "jwks.json")))
	await := watchedFile(t, filepath.Join(dir, "jwks.json"))
	await("one", "")
	must(t, os.Symlink("..two", filepath.Join(dir, "..data_tmp")))
	must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	await("two", "")
}

// Where no change is noticed, the file is read again all the same.
func TestFileIsPolled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jwks.json")
	writeFile(t, path, jwks(t, edMember(t, "one")))
	source, err := File(path, 0)
	must(t, err)
	loaded, err := source.Load(t.Context())
	if err != nil || loaded.Next != DefaultFilePoll || ids(loaded) != "one" {
		t.Error(ids(loaded), loaded.Next, err)
	}
}

func TestAWatchThatCannotBeSetIsReported(t *testing.T) {
	source := fileSourceFor(t, filepath.Join(t.TempDir(), "gone", "jwks.json"))
	if err := source.Watch(t.Context(), func() {}); err == nil {
		t.Error("watched a directory that does not exist")
	}
}
