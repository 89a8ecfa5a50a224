package bundles

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	rule     = "package assay.rules.a\n\nx := 1\n"
	manifest = `{"revision":"r","roots":["assay/rules","assay/config"]}`
)

// hand makes an archive by hand around a good rule and manifest.
func hand(t *testing.T, more ...entry) []byte {
	t.Helper()
	return archiveOf(t, append([]entry{{name: "/.manifest", text: manifest}, {name: "/assay/rules/a.rego", text: rule}}, more...)...)
}

// Every reason, met unsigned: these checks do not rest on who signed.
func TestRefusedWhateverTheSignature(t *testing.T) {
	for _, c := range []struct {
		name    string
		archive []byte
		config  ReadConfig
		want    Reason
	}{
		{name: "no gzip", archive: []byte("hello"), want: ReasonMalformed},
		{name: "cut off", archive: hand(t)[:60], want: ReasonMalformed},
		{name: "bytes after the archive", archive: append(hand(t), 'x'), want: ReasonMalformed},
		{name: "a second archive after the archive", archive: append(hand(t), hand(t)...), want: ReasonMalformed},
		{name: "longer than MaxBytes", archive: hand(t), config: ReadConfig{MaxBytes: 20}, want: ReasonTooLarge},
		{name: "one file unpacks to too much", archive: hand(t, entry{name: "data.json", text: strings.Repeat(" ", 3<<20) + "{}"}),
			config: ReadConfig{MaxUnpackedBytes: 2 << 20}, want: ReasonTooLarge},
		{name: "all files together unpack to too much", archive: hand(t, entry{name: "a", text: strings.Repeat("a", 600<<10)}, entry{name: "b", text: strings.Repeat("b", 600<<10)}),
			config: ReadConfig{MaxUnpackedBytes: 1 << 20}, want: ReasonTooLarge},
		{name: "too many entries", archive: hand(t), config: ReadConfig{MaxFiles: 1}, want: ReasonTooLarge},
		{name: "path leads out", archive: hand(t, entry{name: "../x.rego", text: rule}), want: ReasonPath},
		{name: "path leads out from inside", archive: hand(t, entry{name: "assay/../../x.rego", text: rule}), want: ReasonPath},
		{name: "directory leads out", archive: hand(t, entry{name: "../", kind: tar.TypeDir}), want: ReasonPath},
		{name: "path is not plain", archive: hand(t, entry{name: "assay//x.rego", text: rule}), want: ReasonPath},
		{name: "two slashes at the start", archive: hand(t, entry{name: "//x.rego", text: rule}), want: ReasonPath},
		{name: "backslash", archive: hand(t, entry{name: `assay\..\x.rego`, text: rule}), want: ReasonPath},
		{name: "symbolic link", archive: hand(t, entry{name: "x.rego", kind: tar.TypeSymlink, link: "/etc/passwd"}), want: ReasonPath},
		{name: "hard link", archive: hand(t, entry{name: "x.rego", kind: tar.TypeLink, link: "assay/rules/a.rego"}), want: ReasonPath},
		{name: "device", archive: hand(t, entry{name: "x.rego", kind: tar.TypeChar}), want: ReasonPath},
		{name: "entry twice", archive: hand(t, entry{name: "/assay/rules/a.rego", text: rule}), want: ReasonPath},
		{name: "entry twice under two spellings", archive: hand(t, entry{name: "./assay/rules/a.rego", text: rule}), want: ReasonPath},
		{name: "second manifest further down", archive: hand(t, entry{name: "assay/.manifest", text: `{"roots":[""]}`}), want: ReasonPath},
		{name: "file that OPA takes for a manifest", archive: hand(t, entry{name: "x.manifest", text: `{}`}), want: ReasonPath},
		{name: "signature further down", archive: hand(t, entry{name: "assay/.signatures.json", text: `{}`}), want: ReasonPath},
		{name: "package outside the roots", archive: hand(t, entry{name: "x.rego", text: "package assay.lifetime\n\nx := 1\n"}), want: ReasonRoots},
		{name: "data outside the roots", archive: hand(t, entry{name: "data.json", text: `{"assay":{"limits":1}}`}), want: ReasonRoots},
		{name: "roots that overlap", archive: archiveOf(t, entry{name: ".manifest", text: `{"roots":["assay","assay/rules"]}`}), want: ReasonRoots},
		{name: "roots that are not allowed", archive: archiveOf(t, entry{name: ".manifest", text: `{"roots":["assay"]}`}),
			config: ReadConfig{AllowedRoots: OrganisationRoots()}, want: ReasonRoots},
		{name: "no roots declared, module outside those allowed", archive: archiveOf(t, entry{name: "x.rego", text: "package assay\n\ndecision := 1\n"}),
			config: ReadConfig{AllowedRoots: OrganisationRoots()}, want: ReasonRoots},
		{name: "no roots declared, data outside those allowed", archive: archiveOf(t, entry{name: "data.json", text: `{"assay":{"config":{},"x":1}}`}),
			config: ReadConfig{AllowedRoots: OrganisationRoots()}, want: ReasonRoots},
		{name: "no roots declared, a value where roots lead through", archive: archiveOf(t, entry{name: "data.json", text: `{"assay":1}`}),
			config: ReadConfig{AllowedRoots: OrganisationRoots()}, want: ReasonRoots},
		{name: "calls the network", archive: hand(t, entry{name: "x.rego", text: "package assay.rules.x\n\ny := http.send({})\n"}), want: ReasonCapability},
		{name: "calls the network inside a comprehension", archive: hand(t, entry{name: "x.rego", text: "package assay.rules.x\n\ny := [z | z := http.send({}).body]\n"}), want: ReasonCapability},
		{name: "reads the clock as an argument", archive: hand(t, entry{name: "x.rego", text: "package assay.rules.x\n\ny if input.t < time.now_ns()\n"}), want: ReasonCapability},
		{name: "puts a forbidden builtin in place of another", archive: hand(t, entry{name: "x.rego", text: "package assay.rules.x\n\ny if upper(\"a\") with upper as http.send\n"}), want: ReasonCapability},
		{name: "forbidden in a test", archive: hand(t, entry{name: "x_test.rego", text: "package assay.rules.x_test\n\ntest_y if opa.runtime()\n"}), want: ReasonCapability},
		{name: "wasm", archive: hand(t, entry{name: "policy.wasm", text: "\x00asm"}), want: ReasonCapability},
		{name: "plan", archive: hand(t, entry{name: "plan.json", text: "{}"}), want: ReasonCapability},
		{name: "delta", archive: archiveOf(t, entry{name: "patch.json", text: `{"data":[]}`}), want: ReasonMalformed},
		{name: "no Rego", archive: hand(t, entry{name: "x.rego", text: "package"}), want: ReasonMalformed},
		{name: "Rego v0", archive: archiveOf(t, entry{name: ".manifest", text: `{"rego_version":0}`}), want: ReasonMalformed},
		{name: "Rego v0 in one file", archive: archiveOf(t, entry{name: ".manifest", text: `{"rego_version":1,"file_rego_versions":{"/x.rego":0}}`}), want: ReasonMalformed},
		{name: "a rule that hides among tests", archive: hand(t, entry{name: "x_test.rego", text: "package assay.rules.x\n\ny := 1\n"}), want: ReasonMalformed},
		{name: "name twice in data", archive: hand(t, entry{name: "assay/config/data.json", text: `{"a":1,"a":2}`}), want: ReasonMalformed},
		{name: "text after data", archive: hand(t, entry{name: "assay/config/data.json", text: `{"a":1} {}`}), want: ReasonMalformed},
		{name: "name twice in the manifest", archive: archiveOf(t, entry{name: ".manifest", text: `{"roots":["a"],"roots":[""]}`}), want: ReasonMalformed},
		{name: "sequence as text", archive: archiveOf(t, entry{name: ".manifest", text: `{"metadata":{"sequence":"7"}}`}), want: ReasonMalformed},
		{name: "sequence with a fraction", archive: archiveOf(t, entry{name: ".manifest", text: `{"metadata":{"sequence":7.5}}`}), want: ReasonMalformed},
		{name: "sequence below 1", archive: archiveOf(t, entry{name: ".manifest", text: `{"metadata":{"sequence":0}}`}), want: ReasonMalformed},
		{name: "not_after as a number", archive: archiveOf(t, entry{name: ".manifest", text: `{"metadata":{"not_after":1795460000}}`}), want: ReasonMalformed},
		{name: "a second past not_after", archive: archiveOf(t, entry{name: ".manifest", text: `{"metadata":{"not_after":"2026-06-01T11:59:59Z"}}`}), want: ReasonExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.archive, c.config)
			wantRefused(t, err, c.want)
		})
	}
}

func TestLimitsAreTakenExactly(t *testing.T) {
	archive := hand(t, entry{name: "a", text: strings.Repeat("a", 1000)})
	unpacked := int64(len(manifest) + len(rule) + 1000)
	for _, c := range []struct {
		name       string
		good, past ReadConfig
	}{
		{"MaxBytes", ReadConfig{MaxBytes: int64(len(archive))}, ReadConfig{MaxBytes: int64(len(archive)) - 1}},
		{"MaxUnpackedBytes", ReadConfig{MaxUnpackedBytes: unpacked}, ReadConfig{MaxUnpackedBytes: unpacked - 1}},
		{"MaxFiles", ReadConfig{MaxFiles: 3}, ReadConfig{MaxFiles: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := read(archive, c.good); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			_, err := read(archive, c.past)
			wantRefused(t, err, ReasonTooLarge)
		})
	}
}

func TestNotAfterIsTheLastGoodMoment(t *testing.T) {
	archive := build(t, BuildConfig{NotAfter: noon}).Archive
	if b, err := read(archive, ReadConfig{Now: at(noon)}); err != nil || !b.NotAfter.Equal(noon) {
		t.Errorf("at not_after: %v", err)
	}
	_, err := read(archive, ReadConfig{Now: at(noon.Add(time.Nanosecond))})
	wantRefused(t, err, ReasonExpired)
	if _, err := read(archive, ReadConfig{Now: at(noon.Add(time.Hour)), AllowExpired: true}); err != nil {
		t.Errorf("for inspection: %v", err)
	}
}

func TestArchivesOfOtherToolsLoad(t *testing.T) {
	for name, archive := range map[string][]byte{
		"tar czf x.tar.gz .": archiveOf(t, entry{name: "./", kind: tar.TypeDir}, entry{name: "./assay/", kind: tar.TypeDir},
			entry{name: "./.manifest", text: manifest}, entry{name: "./assay/a.rego", text: rule}),
		"names without slash":          archiveOf(t, entry{name: ".manifest", text: manifest}, entry{name: "a.rego", text: rule}),
		"no manifest, allowed roots":   archiveOf(t, entry{name: "/a.rego", text: rule}, entry{name: "/data.json", text: `{"assay":{"config":{"a":1}}}`}),
		"a file that is none of OPA's": hand(t, entry{name: "README.md", text: "hello"}),
	} {
		t.Run(name, func(t *testing.T) {
			b, err := read(archive, ReadConfig{AllowedRoots: OrganisationRoots()})
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Modules) != 1 {
				t.Errorf("%d modules; want 1", len(b.Modules))
			}
		})
	}
}

func TestDirectoryIsReadLikeItsArchive(t *testing.T) {
	dir := writeFiles(t, t.TempDir(), partner)
	writeFiles(t, dir, map[string]string{".manifest": manifest, ".git/config": "x", "assay/.hidden/x.rego": "no Rego"})
	fromDir, err := ReadDir(context.Background(), dir, ReadConfig{Now: at(noon)})
	if err != nil {
		t.Fatal(err)
	}
	built := build(t, BuildConfig{Dir: dir})
	if len(fromDir.Modules) != 1 || len(fromDir.Tests) != 1 || len(fromDir.Modules) != len(built.Bundle.Modules) {
		t.Errorf("directory: %d modules, %d tests; archive: %d, %d", len(fromDir.Modules), len(fromDir.Tests), len(built.Bundle.Modules), len(built.Bundle.Tests))
	}
	extracted := t.TempDir()
	all, err := unpack(built.Archive, (&ReadConfig{MaxUnpackedBytes: 1 << 20, MaxFiles: 100}).budget())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range all {
		writeFiles(t, extracted, map[string]string{name: string(text)})
	}
	again, err := ReadDir(context.Background(), extracted, ReadConfig{Now: at(noon)})
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest != built.Bundle.Digest {
		t.Errorf("digest %s as a directory, %s as an archive", again.Digest, built.Bundle.Digest)
	}
}

func TestDirectoryLinks(t *testing.T) {
	outside := writeFiles(t, t.TempDir(), map[string]string{"secret.rego": rule})
	t.Run("inside are followed, as Kubernetes mounts ConfigMaps", func(t *testing.T) {
		dir := writeFiles(t, t.TempDir(), map[string]string{"..2026_06_01/a.rego": rule})
		if err := errors.Join(os.Symlink("..2026_06_01", filepath.Join(dir, "..data")),
			os.Symlink(filepath.Join("..data", "a.rego"), filepath.Join(dir, "a.rego"))); err != nil {
			t.Fatal(err)
		}
		b, err := ReadDir(context.Background(), dir, ReadConfig{})
		if err != nil || len(b.Modules) != 1 {
			t.Errorf("%+v, %v; want the one module, once", b, err)
		}
	})
	t.Run("that lead out are refused", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Symlink(filepath.Join(outside, "secret.rego"), filepath.Join(dir, "a.rego")); err != nil {
			t.Fatal(err)
		}
		_, err := ReadDir(context.Background(), dir, ReadConfig{})
		wantRefused(t, err, ReasonPath)
	})
}

func TestCancelledReadSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Read(ctx, bytes.NewReader(hand(t)), ReadConfig{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRefusalNamesTheBundleAndHoldsNoContent(t *testing.T) {
	_, err := read(hand(t, entry{name: "assay/config/data.json", text: `{"secretword":1,"secretword":2}`}), ReadConfig{Name: "org"})
	wantRefused(t, err, ReasonMalformed)
	if text := err.Error(); !strings.Contains(text, `"org"`) || strings.Contains(text, "secretword") {
		t.Errorf("%s", text)
	}
}
