package bundles

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/bundle"
)

var allReasons = []Reason{ReasonUnsigned, ReasonSignature, ReasonExpired, ReasonOlder, ReasonTooLarge, ReasonPath,
	ReasonRoots, ReasonCapability, ReasonMalformed}

// FuzzRead gives Read any bytes, as they are or packed, so that what is inside is changed too. Whatever they are: an error is a refusal with a known reason; with a
// signature demanded, nothing but what the key signed is taken; what is taken lies within the limits, has plain paths, and is
// the same when packed anew and read by stock OPA.
func FuzzRead(f *testing.F) {
	signer, err := NewPEMSigner(privatePEM(f, "EdDSA"), "", "k")
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	writeFiles(f, dir, partner)
	built, err := Build(context.Background(), BuildConfig{Dir: dir, Sequence: 1})
	if err != nil {
		f.Fatal(err)
	}
	good, err := Sign(context.Background(), built.Archive, SignConfig{Signer: signer})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, false)
	f.Add(built.Archive, false)
	f.Add(unzipped(f, good), true)
	f.Add(unzipped(f, archiveOf(f, entry{name: "../x", text: "x"}, entry{name: "a", kind: tar.TypeSymlink, link: "/etc/passwd"})), true)
	f.Add(unzipped(f, archiveOf(f, entry{name: ".manifest", text: `{"roots":["a"],"metadata":{"sequence":1}}`}, entry{name: "a/data.yaml", text: "a: &a [1]\nb: *a\n"})), true)
	f.Add(unzipped(f, archiveOf(f, entry{name: "a_test.rego", text: "package a_test\n\ntest_x if true\n"}, entry{name: "data.yml", text: "x: 1"})), true)
	want := mustDigest(f, good)
	f.Fuzz(func(t *testing.T, archive []byte, packed bool) {
		if packed {
			archive = zipped(t, archive)
		}
		limits := ReadConfig{MaxBytes: 1 << 16, MaxUnpackedBytes: 1 << 18, MaxFiles: 50, Now: at(noon)}
		b, err := read(archive, limits)
		checkRefusal(t, err)
		if err == nil {
			checkTaken(t, b)
		}
		limits.Verify = trust(signer)
		b, err = read(archive, limits)
		checkRefusal(t, err)
		if err == nil && (b.Digest != want || b.KeyID != "k" || !b.Signed) {
			t.Errorf("a bundle was taken that the key did not sign")
		}
	})
}

func unzipped(f *testing.F, archive []byte) []byte {
	f.Helper()
	r, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		f.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		f.Fatal(err)
	}
	return text
}

func zipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func mustDigest(f *testing.F, archive []byte) string {
	f.Helper()
	b, err := read(archive, ReadConfig{})
	if err != nil {
		f.Fatal(err)
	}
	return b.Digest
}

func checkRefusal(t *testing.T, err error) {
	t.Helper()
	var refused *RefusedError
	if err != nil && (!errors.As(err, &refused) || !slices.Contains(allReasons, refused.Reason) || refused.Detail == "") {
		t.Errorf("error %v (%T) is no refusal with a known reason", err, err)
	}
}

func checkTaken(t *testing.T, b *Bundle) {
	t.Helper()
	all := make(files)
	size := 0
	for _, modules := range []map[string][]byte{b.Modules, b.Tests} {
		for name, text := range modules {
			if !fs.ValidPath(name) || strings.Contains(name, "\\") {
				t.Errorf("module %q", name)
			}
			size += len(text)
			all[name] = text
		}
	}
	if size > 1<<18 || len(all) > 50 {
		t.Errorf("%d modules of %d bytes were taken", len(all), size)
	}
	again, err := pack(all)
	if err != nil {
		return // a name that tar cannot write
	}
	// Stock OPA reads the same modules.
	stock, err := bundle.NewReader(bytes.NewReader(again)).WithLazyLoadingMode(false).Read()
	if err != nil {
		t.Errorf("stock OPA does not read modules that were taken: %v", err)
		return
	}
	if len(stock.Modules) != len(all) {
		t.Errorf("stock OPA reads %d modules, %d were taken", len(stock.Modules), len(all))
	}
}
