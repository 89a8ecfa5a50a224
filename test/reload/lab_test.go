// Package reload puts new bundles in force under load, in the real program: what a service sees of it must be
// nothing but another revision.
package reload

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/test/program"
)

var assay string // the program, built by TestMain

func TestMain(m *testing.M) {
	os.Exit(program.Run(m, func(path string) { assay = path }))
}

// lab is a server whose bundle is a signed archive, and who publishes into it.
type lab struct {
	t       testing.TB
	dir     string
	signer  *bundles.PEMSigner
	tokens  []string
	base    string
	client  *http.Client
	written int // the number of the newest bundle
}

// Each bundle carries its number three times: in a rule, in data and in the configuration. A decision that does not
// find the same number in all of them was made under a mix of two revisions; it says so, and denies.
const rule = `package assay.rules.numbered

# METADATA
# title: Number
# description: Says under which bundle the decision was made.
# custom:
#   code: numbered.number
#   severity: low
#   controls: [SOC2:CC8.1]
#   mode: warn
findings contains {"rule": rego.metadata.rule(), "message": "numbers", "details": {
	"rule": %[1]d,
	"data": data.assay.rules.numbered.number,
	"config": data.assay.config.max_lifetime_seconds - 3600,
}} if {
	input.verification.status == "verified"
}

# METADATA
# title: Mixed
# description: Two revisions in one decision.
# custom:
#   code: numbered.mixed
#   severity: critical
#   controls: [SOC2:CC8.1]
findings contains {"rule": rego.metadata.rule(), "message": "mixed", "details": {}} if {
	count({%[1]d, data.assay.rules.numbered.number, data.assay.config.max_lifetime_seconds - 3600}) != 1
}
`

const configuration = `
issuers:
  - issuer: https://idp.example
    keys: {file: jwks.json}
policy:
  bundle: bundle.tar.gz
  verify: {keys: {author: {file: author.pem}}}
  run_tests: true
  state_dir: state
  timeout: 20s
limits: {request_timeout: 1m}
`

func newLab(t testing.TB, tokens int) *lab {
	l := &lab{t: t, dir: t.TempDir(), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 3 * time.Minute}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	l.must(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	l.must(err)
	l.signer, err = bundles.NewPEMSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "ES256", "author")
	l.must(err)
	l.write("author.pem", []byte(l.signer.PublicKey()))
	l.mint(tokens)
	l.write("assay.yaml", []byte(configuration))
	l.publish("")
	l.base = "http://" + program.Serve(t, assay, []string{"--config", filepath.Join(l.dir, "assay.yaml"), "--listen", "127.0.0.1:0"})
	return l
}

func (l *lab) must(err error) {
	if err != nil {
		l.t.Helper()
		l.t.Fatal(err)
	}
}

func (l *lab) write(name string, text []byte) {
	path := filepath.Join(l.dir, name)
	l.must(os.MkdirAll(filepath.Dir(path), 0o700))
	l.must(bundles.WriteFile(path, text))
}

// mint makes tokens and the set of keys that verifies them.
func (l *lab) mint(n int) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	l.must(err)
	point, err := key.PublicKey.Bytes()
	l.must(err)
	b64 := base64.RawURLEncoding
	l.write("jwks.json", fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"k1","x":%q,"y":%q}]}`,
		b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:])))
	now := time.Now().Unix()
	for i := range n {
		input := b64.EncodeToString([]byte(`{"alg":"ES256","kid":"k1","typ":"at+jwt"}`)) + "." + b64.EncodeToString(fmt.Appendf(nil,
			`{"iss":"https://idp.example","sub":"s%d","aud":"orders","client_id":"web","iat":%d,"exp":%d,"jti":"%d"}`, i, now, now+1800, i))
		digest := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		l.must(err)
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		l.tokens = append(l.tokens, input+"."+b64.EncodeToString(signature))
	}
}

// publish makes the next bundle and puts it in the place of the last by a rename. It may come with a test.
func (l *lab) publish(test string) { l.write("bundle.tar.gz", l.build(test)) }

// build makes the next bundle and signs it.
func (l *lab) build(test string) []byte {
	l.written++
	folder := filepath.Join("source", fmt.Sprint(l.written))
	l.write(folder+"/assay/rules/numbered/numbered.rego", fmt.Appendf(nil, rule, l.written))
	l.write(folder+"/assay/rules/numbered/data.json", fmt.Appendf(nil, `{"number": %d}`, l.written))
	l.write(folder+"/assay/config/data.json", fmt.Appendf(nil, `{"max_lifetime_seconds": %d}`, 3600+l.written))
	if test != "" {
		l.write(folder+"/assay/rules/numbered/numbered_test.rego", []byte(test))
	}
	built, err := bundles.Build(context.Background(), bundles.BuildConfig{Dir: filepath.Join(l.dir, folder), Sequence: int64(l.written)})
	l.must(err)
	signed, err := bundles.Sign(context.Background(), built.Archive, bundles.SignConfig{Signer: l.signer})
	l.must(err)
	l.must(os.RemoveAll(filepath.Join(l.dir, folder)))
	return signed
}

// decision is what is looked at of an answer.
type decision struct {
	Allow   bool
	Reasons []struct {
		Code    string
		Details struct{ Rule, Data, Config int }
	}
	Policy struct{ Revision string }
}

// number gives the one number of the bundle under which the decision was made, or says what is wrong with it.
func (d *decision) number() (int, error) {
	if !d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Code != "numbered.number" {
		return 0, fmt.Errorf("allow %t with reasons %+v; want an allow that says its number", d.Allow, d.Reasons)
	}
	n := d.Reasons[0].Details
	if n.Rule == 0 || n.Rule != n.Data || n.Rule != n.Config {
		return 0, fmt.Errorf("the rule is of bundle %d, the data of %d, the configuration of %d", n.Rule, n.Data, n.Config)
	}
	return n.Rule, nil
}

// ask asks about a token, or about many in one batch.
func (l *lab) ask(tokens ...string) ([]decision, error) {
	type item struct {
		Token   string            `json:"token"`
		Request map[string]string `json:"request"`
	}
	items := make([]item, len(tokens))
	for i, token := range tokens {
		items[i] = item{token, map[string]string{"audience": "orders"}}
	}
	path, question := "/decide", any(items[0])
	if len(items) > 1 {
		path, question = "/decide/batch", map[string]any{"items": items}
	}
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	response, err := l.client.Post(l.base+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end below, or lost
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %.300s", response.StatusCode, text)
	}
	if len(items) > 1 {
		var many struct{ Items []decision }
		err = json.Unmarshal(text, &many)
		return many.Items, err
	}
	one := make([]decision, 1)
	err = json.Unmarshal(text, &one[0])
	return one, err
}
