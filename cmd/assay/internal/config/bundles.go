package config

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/assaypdp/assay/bundles"
)

// Bundles are where bundles come from. In the file it is one location, one Bundle, or a list of either.
type Bundles []Bundle

// Bundle is where one bundle comes from.
type Bundle struct {
	// Name stands in logs, metrics and high-water marks; default "policy", needed where there are several.
	Name string `yaml:"name"`
	// Source is a directory or an archive, both watched, or an https URL (http to a loopback address).
	Source string `yaml:"source"`
	// TokenFile holds a bearer token for the URL; it is read again for every request.
	TokenFile string `yaml:"token_file"`
	// CAFile is a PEM file of authorities for the URL's server; default: the system's.
	CAFile string `yaml:"ca_file"`
	// Poll is how often the source is looked at when nothing tells that it changed; default 30s. A URL is asked
	// at least every two of these.
	Poll Duration `yaml:"poll"`
	// LongPoll, whole seconds, asks the URL's server to answer only when it has something new, or after this
	// time; default 0s: it is not asked to.
	LongPoll Duration `yaml:"long_poll"`
}

// Verify says whose signatures on bundles count.
type Verify struct {
	// Keys by key id, which the signature of a bundle names.
	Keys map[string]VerifyKey `yaml:"keys"`
	// Scope must be that of the signature; default none.
	Scope string `yaml:"scope"`
	// Required: a bundle without a good signature is refused; default true for archives and URLs, false for
	// directories.
	Required *bool `yaml:"required"`
}

// VerifyKey is a public key.
type VerifyKey struct {
	// File or PEM holds it; exactly one.
	File string `yaml:"file"`
	PEM  string `yaml:"pem"`
	// Algorithm is the JWS "alg" that it signs with; default ES256.
	Algorithm string `yaml:"algorithm"`
}

// Shadow is a candidate that is evaluated on real traffic and changes no answer.
type Shadow struct {
	// Bundle takes the place of policy.bundle; default none: there is no candidate. It is verified in the same way.
	Bundle Bundles `yaml:"bundle"`
	// Share of the decisions, more than 0 up to 1; default 0.1.
	Share float64 `yaml:"share"`
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (b *Bundles) UnmarshalYAML(decode func(any) error) error {
	var many []Bundle
	if decode(&many) == nil {
		*b = many
		return nil
	}
	var one Bundle
	if err := decode(&one); err != nil {
		return err
	}
	*b = Bundles{one}
	return nil
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler: a location alone will do.
func (b *Bundle) UnmarshalYAML(decode func(any) error) error {
	if decode(&b.Source) == nil {
		return nil
	}
	type plain Bundle // without this method
	return decode((*plain)(b))
}

var _ = yaml.InterfaceUnmarshaler(new(Bundles))

func (b Bundles) fill() {
	for i := range b {
		if b[i].Name == "" && len(b) == 1 {
			b[i].Name = "policy"
		}
		setDefault(&b[i].Poll, bundles.DefaultPoll)
	}
}

func (v *Verify) fill() {
	for id, key := range v.Keys {
		if key.Algorithm == "" {
			key.Algorithm = "ES256"
			v.Keys[id] = key
		}
	}
}

// Demands tells whether a bundle of this source must carry a good signature.
func (v *Verify) Demands(source string) bool {
	if v.Required != nil {
		return *v.Required
	}
	if bundles.IsURL(source) {
		return true
	}
	info, err := os.Stat(source)
	return err != nil || !info.IsDir()
}

// Verification reads the keys; nil where there are none.
func (v *Verify) Verification() (*bundles.Verification, error) {
	if len(v.Keys) == 0 {
		return nil, nil
	}
	keys := make(map[string]bundles.Key, len(v.Keys))
	for id, key := range v.Keys {
		read := bundles.Key{PEM: key.PEM, Algorithm: key.Algorithm}
		if key.File != "" {
			text, err := os.ReadFile(key.File)
			if err != nil {
				return nil, fmt.Errorf("the key %q: %w", id, err)
			}
			read.PEM = string(text)
		}
		keys[id] = read
	}
	verification := &bundles.Verification{Keys: keys, Scope: v.Scope}
	return verification, verification.Check()
}

func (d *document) checkBundles(p *Policy) {
	d.checkSources("policy.bundle", p.Bundle, p)
	d.checkSources("policy.shadow.bundle", p.Shadow.Bundle, p)
	sound := true
	for id, key := range p.Verify.Keys {
		at := "policy.verify.keys." + id
		if (key.File == "") == (key.PEM == "") {
			d.at(at, "give exactly one of file and pem: a public key")
			sound = false
		}
		before := len(d.problems)
		d.file(at+".file", key.File)
		sound = sound && len(d.problems) == before
	}
	if sound {
		if _, err := p.Verify.Verification(); err != nil {
			d.at("policy.verify.keys", "%v", err)
		}
	}
	if p.ReplaceLibrary && len(p.Bundle) == 0 {
		d.at("policy.replace_library", "there is nothing to replace the library with; give policy.bundle")
	}
	if p.MaxBundleBytes < 1024 || p.MaxBundleBytes > 1<<30 {
		d.at("policy.max_bundle_bytes", "%d: must be from 1024 to %d", p.MaxBundleBytes, 1<<30)
	}
	if share := p.Shadow.Share; share <= 0 || share > 1 || math.IsNaN(share) {
		d.at("policy.shadow.share", "%v: must be more than 0, and 1 at most", p.Shadow.Share)
	}
}

func (d *document) checkSources(key string, list Bundles, p *Policy) {
	verify := &p.Verify
	seen := make(map[string]bool)
	for i, b := range list {
		at := key
		if d.isList(key) {
			at = fmt.Sprintf("%s[%d]", key, i)
		}
		switch err := bundles.CheckName(b.Name); {
		case b.Name == "" && len(list) > 1:
			d.at(at, "each of several bundles needs a name")
		case err != nil:
			d.at(at+".name", "%v", err)
		case seen[b.Name]:
			d.at(at+".name", "%s is there twice", b.Name)
		}
		seen[b.Name] = true
		if b.Poll < Duration(time.Second) {
			d.at(at+".poll", "%s: must be a second at least", b.Poll)
		}
		if b.LongPoll < 0 || b.LongPoll.D()%time.Second != 0 {
			d.at(at+".long_poll", "%s: must be whole seconds", b.LongPoll)
		}
		before := len(d.problems)
		d.checkSource(at, b, p)
		if len(d.problems) == before && verify.Demands(b.Source) && len(verify.Keys) == 0 {
			d.at(at, "%s must be signed and nobody may sign: give policy.verify.keys, or write policy.verify.required: false", b.Source)
		}
	}
}

func (d *document) checkSource(at string, b Bundle, p *Policy) {
	remote := bundles.IsURL(b.Source)
	switch {
	case b.Source == "":
		d.at(at, "source is missing: a directory, an archive (.tar.gz) or a URL")
	case remote:
		d.remote(at, b.Source)
	default:
		// What is not there may be in the state directory; a server must start with it.
		if _, err := os.Stat(b.Source); err != nil && (p.StateDir == "" || !os.IsNotExist(err)) {
			d.at(at, "%v", err)
			return
		}
	}
	if !remote && (b.TokenFile != "" || b.CAFile != "" || b.LongPoll != 0) {
		d.at(at, "token_file, ca_file and long_poll are for URLs")
	}
	d.file(at+".token_file", b.TokenFile)
	d.file(at+".ca_file", b.CAFile)
	if b.TokenFile != "" && strings.HasPrefix(b.Source, "http://") {
		d.at(at+".token_file", "a bearer token would travel in clear; use https")
	}
}

// paths are those of files, to be made relative to the configuration file's folder.
func (p *Policy) paths() []*string {
	paths := []*string{&p.StateDir}
	for _, list := range []Bundles{p.Bundle, p.Shadow.Bundle} {
		for i := range list {
			paths = append(paths, &list[i].TokenFile, &list[i].CAFile)
			if !bundles.IsURL(list[i].Source) {
				paths = append(paths, &list[i].Source)
			}
		}
	}
	return paths
}

// resolveKeys makes the keys' files relative to the configuration file's folder.
func (v *Verify) resolveKeys(folder string) {
	for id, key := range v.Keys {
		if key.File != "" && !filepath.IsAbs(key.File) {
			key.File = filepath.Join(folder, key.File)
			v.Keys[id] = key
		}
	}
}

// isList tells whether a key's value is a sequence in the file.
func (d *document) isList(key string) bool {
	node, ok := d.find(key).(*ast.SequenceNode)
	return ok && node != nil
}
