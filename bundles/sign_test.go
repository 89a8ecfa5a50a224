package bundles

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// contents takes an archive apart, to change something in it.
func contents(t testing.TB, archive []byte) files {
	t.Helper()
	all, err := unpack(archive, (&ReadConfig{MaxUnpackedBytes: 1 << 20, MaxFiles: 100}).budget())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func repack(t testing.TB, all files) []byte {
	t.Helper()
	archive, err := pack(all)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// forge puts a signature over header and payload in place of the one that is there, made by the same key.
func forge(t *testing.T, all files, s Signer, change func(header, payload map[string]any)) {
	t.Helper()
	var outer signatures
	if err := json.Unmarshal(all[signaturesFile], &outer); err != nil {
		t.Fatal(err)
	}
	var parts [2]map[string]any
	for i := range parts {
		text, err := base64.RawURLEncoding.DecodeString(strings.Split(outer.Signatures[0], ".")[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &parts[i]); err != nil {
			t.Fatal(err)
		}
	}
	change(parts[0], parts[1])
	var encoded [2]string
	for i, part := range parts {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		encoded[i] = base64.RawURLEncoding.EncodeToString(text)
	}
	input := strings.Join(encoded[:], ".")
	signature, err := s.SignBundle(context.Background(), []byte(input))
	if err != nil {
		t.Fatal(err)
	}
	put(t, all, signatures{Signatures: []string{input + "." + base64.RawURLEncoding.EncodeToString(signature)}})
}

func put(t *testing.T, all files, s signatures) {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	all[signaturesFile] = text
}

func TestSignatureThatDoesNotCountIsRefused(t *testing.T) {
	signer, other := newSigner(t, "ES256"), newSigner(t, "ES256")
	archive := signed(t, build(t, BuildConfig{Sequence: 1}).Archive, signer)
	const ruleFile = "assay/rules/partner/partner.rego"
	for _, c := range []struct {
		name   string
		change func(t *testing.T, all files)
		want   Reason
	}{
		{"unsigned", func(_ *testing.T, all files) { delete(all, signaturesFile) }, ReasonUnsigned},
		{"a rule was changed", func(_ *testing.T, all files) { all[ruleFile] = append(all[ruleFile], "\nx := 1\n"...) }, ReasonSignature},
		{"data was changed", func(_ *testing.T, all files) { all["assay/config/data.json"] = []byte(`{"leeway_seconds": 11}`) }, ReasonSignature},
		{"the sequence was changed", func(_ *testing.T, all files) {
			all[manifestFile] = bytes.Replace(all[manifestFile], []byte(`"sequence":1`), []byte(`"sequence":9`), 1)
		}, ReasonSignature},
		{"a file was added", func(_ *testing.T, all files) { all["assay/rules/b.rego"] = []byte("package assay.rules.b\n\nx := 1\n") }, ReasonSignature},
		{"a file was added that OPA does not load", func(_ *testing.T, all files) { all["README.md"] = []byte("hello") }, ReasonSignature},
		{"a file was taken out", func(_ *testing.T, all files) { delete(all, ruleFile) }, ReasonSignature},
		{"a file was moved", func(_ *testing.T, all files) {
			all["assay/rules/other.rego"] = all[ruleFile]
			delete(all, ruleFile)
		}, ReasonSignature},
		{"the manifest was taken out", func(_ *testing.T, all files) { delete(all, manifestFile) }, ReasonSignature},
		{"the signature is another's over the same files", func(t *testing.T, all files) {
			all[signaturesFile] = contents(t, signed(t, archive, other))[signaturesFile]
		}, ReasonSignature},
		{"the signature is another's under this key's id", func(t *testing.T, all files) {
			forge(t, all, other, func(map[string]any, map[string]any) {})
		}, ReasonSignature},
		{"two signatures", func(t *testing.T, all files) {
			var s signatures
			if err := json.Unmarshal(all[signaturesFile], &s); err != nil {
				t.Fatal(err)
			}
			put(t, all, signatures{Signatures: append(s.Signatures, s.Signatures...)})
		}, ReasonSignature},
		{"no signature in the file", func(t *testing.T, all files) { put(t, all, signatures{Signatures: []string{}}) }, ReasonSignature},
		{"no JWT", func(t *testing.T, all files) { put(t, all, signatures{Signatures: []string{"a.b"}}) }, ReasonSignature},
		{"no JSON", func(_ *testing.T, all files) { all[signaturesFile] = []byte("x") }, ReasonSignature},
		{"alg none", func(t *testing.T, all files) {
			forge(t, all, signer, func(h, _ map[string]any) { h["alg"] = "none" })
		}, ReasonSignature},
		{"another algorithm in the header", func(t *testing.T, all files) {
			forge(t, all, signer, func(h, _ map[string]any) { h["alg"] = "RS256" })
		}, ReasonSignature},
		{"critical extension", func(t *testing.T, all files) {
			forge(t, all, signer, func(h, _ map[string]any) { h["crit"] = []string{"exp"} })
		}, ReasonSignature},
		{"unknown key", func(t *testing.T, all files) {
			forge(t, all, signer, func(h, _ map[string]any) { h["kid"] = "k2" })
		}, ReasonSignature},
		{"a scope where none is configured", func(t *testing.T, all files) {
			forge(t, all, signer, func(_, p map[string]any) { p["scope"] = "write" })
		}, ReasonSignature},
		{"a broken hash", func(t *testing.T, all files) {
			hasher, err := bundle.NewSignatureHasher(bundle.MD5)
			if err != nil {
				t.Fatal(err)
			}
			sum, err := hasher.HashFile(all[ruleFile])
			if err != nil {
				t.Fatal(err)
			}
			forge(t, all, signer, func(_, p map[string]any) {
				for _, f := range p["files"].([]any) {
					if file := f.(map[string]any); file["name"] == ruleFile {
						file["algorithm"], file["hash"] = "MD5", hex.EncodeToString(sum)
					}
				}
			})
		}, ReasonSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := contents(t, archive)
			c.change(t, all)
			_, err := read(repack(t, all), ReadConfig{Name: "org", Verify: trust(signer)})
			wantRefused(t, err, c.want)
		})
	}
	// What the cases start from is good, and so is what forge makes where nothing is changed.
	all := contents(t, archive)
	forge(t, all, signer, func(map[string]any, map[string]any) {})
	for name, good := range map[string][]byte{"as signed": archive, "forged by its own key": repack(t, all)} {
		if b, err := read(good, ReadConfig{Name: "org", Verify: trust(signer)}); err != nil || !b.RollbackProtected() {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
}

// The plugin field is not signed: OPA looks its verifier up by it, here it says nothing.
func TestPluginFieldChangesNothing(t *testing.T) {
	signer := newSigner(t, "ES256")
	all := contents(t, signed(t, build(t, BuildConfig{}).Archive, signer))
	var s signatures
	if err := json.Unmarshal(all[signaturesFile], &s); err != nil {
		t.Fatal(err)
	}
	if s.Plugin != "" {
		t.Errorf("plugin %q in our own signature: stock OPA would need that plugin", s.Plugin)
	}
	s.Plugin = "vault"
	put(t, all, s)
	if _, err := read(repack(t, all), ReadConfig{Verify: trust(signer)}); err != nil {
		t.Error(err)
	}
	all["assay/rules/partner/partner.rego"] = []byte("package assay.rules.partner\n\nx := 1\n")
	_, err := read(repack(t, all), ReadConfig{Verify: trust(signer)})
	wantRefused(t, err, ReasonSignature)
}

func TestScopeMustBeTheSame(t *testing.T) {
	signer := newSigner(t, "ES256")
	archive, err := Sign(context.Background(), build(t, BuildConfig{}).Archive, SignConfig{Signer: signer, Scope: "production"})
	if err != nil {
		t.Fatal(err)
	}
	for scope, good := range map[string]bool{"production": true, "": false, "staging": false} {
		verify := trust(signer)
		verify.Scope = scope
		_, err := read(archive, ReadConfig{Verify: verify})
		if good && err != nil {
			t.Errorf("scope %q: %v", scope, err)
		}
		if !good {
			wantRefused(t, err, ReasonSignature)
		}
	}
}

func TestBuildIsReproducible(t *testing.T) {
	c := BuildConfig{Sequence: 3, NotAfter: noon}
	first, second := build(t, c), build(t, c) // two directories, written at two times
	if !bytes.Equal(first.Archive, second.Archive) {
		t.Error("the same files gave two archives")
	}
	ed := newSigner(t, "EdDSA")
	if !bytes.Equal(signed(t, first.Archive, ed), signed(t, second.Archive, ed)) {
		t.Error("the same archive and a deterministic algorithm gave two signed archives")
	}
	if before, after := first.Bundle.Digest, signed(t, first.Archive, ed); before != mustRead(t, after).Digest {
		t.Error("signing changed the digest")
	}
	c.Sequence = 4
	if third := build(t, c); bytes.Equal(third.Archive, first.Archive) || third.Bundle.Digest == first.Bundle.Digest {
		t.Error("another sequence gave the same archive")
	}
}

func mustRead(t *testing.T, archive []byte) *Bundle {
	t.Helper()
	b, err := read(archive, ReadConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSigningAgainReplacesTheSignature(t *testing.T) {
	first, second := newSigner(t, "ES256"), newSigner(t, "RS256")
	archive := signed(t, signed(t, build(t, BuildConfig{}).Archive, first), second)
	if b, err := read(archive, ReadConfig{Verify: trust(second)}); err != nil || b.KeyID != second.KeyID() {
		t.Errorf("%+v, %v", b, err)
	}
	_, err := read(archive, ReadConfig{Verify: trust(first)})
	wantRefused(t, err, ReasonSignature)
}

// liar answers with a signature of nothing, as Vault has been seen to do.
type liar struct{ *PEMSigner }

func (liar) SignBundle(context.Context, []byte) ([]byte, error) { return make([]byte, 64), nil }

type broken struct{ *PEMSigner }

var errSealed = errors.New("sealed")

func (broken) SignBundle(context.Context, []byte) ([]byte, error) { return nil, errSealed }

func TestNothingIsReleasedThatDoesNotVerify(t *testing.T) {
	archive := build(t, BuildConfig{}).Archive
	if made, err := Sign(context.Background(), archive, SignConfig{Signer: liar{newSigner(t, "ES256")}}); err == nil || made != nil {
		t.Errorf("a bad signature was handed out: %v", err)
	}
	if made, err := Sign(context.Background(), archive, SignConfig{Signer: broken{newSigner(t, "ES256")}}); !errors.Is(err, errSealed) || made != nil {
		t.Errorf("got %v; want the signer's own error", err)
	}
	_, err := Sign(context.Background(), hand(t, entry{name: "../x", text: "x"}), SignConfig{Signer: newSigner(t, "ES256")})
	wantRefused(t, err, ReasonPath)
}

func TestBuildFindsAtOnceWhatWouldBeRefused(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		want             Reason
	}{
		{"outside the roots", "assay/limits/x.rego", "package assay.limits\n\nx := 1\n", ReasonRoots},
		{"forbidden builtin", "assay/rules/x.rego", "package assay.rules.x\n\ny := time.now_ns()\n", ReasonCapability},
		{"no Rego", "assay/rules/x.rego", "package assay.rules.x\n\ny :=\n", ReasonMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Build(context.Background(), BuildConfig{Dir: writeFiles(t, t.TempDir(), map[string]string{c.file: c.text})})
			wantRefused(t, err, c.want)
		})
	}
	if _, err := Build(context.Background(), BuildConfig{Dir: t.TempDir()}); err == nil {
		t.Error("an empty directory gave a bundle")
	}
}

func TestBuildTakesTheDirectorysManifestAndItsOwnSettings(t *testing.T) {
	dir := writeFiles(t, t.TempDir(), partner)
	writeFiles(t, dir, map[string]string{
		".manifest": `{"revision":"theirs","roots":["assay"],"metadata":{"sequence":5,"team":"idp"}}`,
		"NOTES.txt": "x", signaturesFile: "old",
	})
	built := build(t, BuildConfig{Dir: dir, NotAfter: noon, WithoutTests: true})
	b := built.Bundle
	if b.Revision != "theirs" || b.Sequence != 5 || len(b.Roots) != 1 || b.Roots[0] != "assay" || b.Metadata["team"] != "idp" || !b.NotAfter.Equal(noon) || len(b.Tests) != 0 {
		t.Errorf("%+v", b)
	}
	if len(built.LeftOut) != 1 || built.LeftOut[0] != "NOTES.txt" {
		t.Errorf("left out %v", built.LeftOut)
	}
	if b = build(t, BuildConfig{Dir: dir, Revision: "mine", Sequence: 6, Roots: OrganisationRoots()}).Bundle; b.Revision != "mine" || b.Sequence != 6 || len(b.Roots) != 2 {
		t.Errorf("%+v", b)
	}
}

func TestKeysThatCannotBeUsedAreSaidAtOnce(t *testing.T) {
	es, rs := newSigner(t, "ES256"), newSigner(t, "RS256")
	for name, v := range map[string]*Verification{
		"none":            {},
		"no PEM":          {Keys: map[string]Key{"k": {PEM: "x", Algorithm: "ES256"}}},
		"private":         {Keys: map[string]Key{"k": {PEM: string(privatePEM(t, "ES256")), Algorithm: "ES256"}}},
		"shared secret":   {Keys: map[string]Key{"k": {PEM: es.PublicKey(), Algorithm: "HS256"}}},
		"curve":           {Keys: map[string]Key{"k": {PEM: es.PublicKey(), Algorithm: "ES384"}}},
		"type":            {Keys: map[string]Key{"k": {PEM: rs.PublicKey(), Algorithm: "ES256"}}},
		"no id":           {Keys: map[string]Key{"": {PEM: es.PublicKey(), Algorithm: "ES256"}}},
		"two keys in one": {Keys: map[string]Key{"k": {PEM: es.PublicKey() + rs.PublicKey(), Algorithm: "ES256"}}},
	} {
		if err := v.Check(); err == nil {
			t.Errorf("%s: taken", name)
		}
		_, err := read(hand(t), ReadConfig{Verify: v})
		var refused *RefusedError
		if err == nil || errors.As(err, &refused) {
			t.Errorf("%s: %v; want an error of the configuration, not of the bundle", name, err)
		}
	}
	if _, err := read(hand(t), ReadConfig{Now: func() time.Time { return noon }}); err != nil {
		t.Errorf("without verification: %v", err)
	}
}
