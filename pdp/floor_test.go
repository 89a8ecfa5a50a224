package pdp_test

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"slices"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// Each case spoils one fact of a good token; the policy allows everything. No code: still allowed.
func TestFloor(t *testing.T) {
	cases := map[string]struct {
		spoil func(t *testing.T, f *facts)
		code  string
	}{
		"nothing against it": {func(*testing.T, *facts) {}, ""},

		"not verified":                                   {func(_ *testing.T, f *facts) { *f.verification = pdp.Verification{} }, "signature.invalid"},
		"verified without a key":                         {func(_ *testing.T, f *facts) { f.verification.Key = nil }, "signature.invalid"},
		"verified without trust":                         {func(_ *testing.T, f *facts) { f.keys = nil }, "signature.invalid"},
		"its issuer publishes another key":               {func(t *testing.T, f *facts) { f.keys = []pdp.Key{newKey(t, "k1", "print-2")} }, "signature.key_unknown"},
		"its issuer publishes no key":                    {func(_ *testing.T, f *facts) { f.keys = []pdp.Key{} }, "signature.key_unknown"},
		"its key is now published for another algorithm": {func(_ *testing.T, f *facts) { f.keys[0].Algorithm = "ES384" }, "signature.key_unknown"},
		"its key is now published under another kid":     {func(_ *testing.T, f *facts) { f.keys[0].ID = "k9" }, ""},
		"its key is of another type": {func(_ *testing.T, f *facts) {
			f.keys[0].Public = ed25519.PublicKey(make([]byte, 32))
		}, "signature.key_unknown"},
		"its algorithm is not its issuer's":       {func(_ *testing.T, f *facts) { f.issuer.Algorithms = []string{"ES384"} }, "algorithm.not_allowed"},
		"its algorithm is one of its issuer's":    {func(_ *testing.T, f *facts) { f.issuer.Algorithms = []string{"ES384", "ES256"} }, ""},
		"its algorithm in another case":           {func(_ *testing.T, f *facts) { f.issuer.Algorithms = []string{"es256"} }, "algorithm.not_allowed"},
		"no exp":                                  {func(_ *testing.T, f *facts) { f.token.ExpiresAt = nil }, "lifetime.missing_exp"},
		"exp that is no date":                     {func(_ *testing.T, f *facts) { f.token.ExpiresAt, f.token.Unusable = nil, []string{"exp"} }, "claims.wrong_type"},
		"iat that is no date":                     {func(_ *testing.T, f *facts) { f.token.IssuedAt, f.token.Unusable = nil, []string{"iat"} }, "claims.wrong_type"},
		"nbf that is no date":                     {func(_ *testing.T, f *facts) { f.token.NotBefore, f.token.Unusable = nil, []string{"nbf"} }, "claims.wrong_type"},
		"exp in the last second of leeway":        {func(_ *testing.T, f *facts) { f.token.ExpiresAt = date(now - 29) }, ""},
		"exp a fraction inside leeway":            {func(t *testing.T, f *facts) { f.token.ExpiresAt = fraction(t, "1795459970.000000001") }, ""},
		"exp at leeway":                           {func(_ *testing.T, f *facts) { f.token.ExpiresAt = date(now - 30) }, "lifetime.expired"},
		"exp a fraction past leeway":              {func(t *testing.T, f *facts) { f.token.ExpiresAt = fraction(t, "1795459969.999999999") }, "lifetime.expired"},
		"exp long past":                           {func(_ *testing.T, f *facts) { f.token.ExpiresAt, f.token.IssuedAt = date(0), date(-60) }, "lifetime.expired"},
		"nbf at leeway":                           {func(_ *testing.T, f *facts) { f.token.NotBefore = date(now + 30) }, ""},
		"nbf a fraction past leeway":              {func(t *testing.T, f *facts) { f.token.NotBefore = fraction(t, "1795460030.000000001") }, "lifetime.not_yet_valid"},
		"nbf past leeway":                         {func(_ *testing.T, f *facts) { f.token.NotBefore = date(now + 31) }, "lifetime.not_yet_valid"},
		"no nbf":                                  {func(_ *testing.T, f *facts) { f.token.NotBefore = nil }, ""},
		"a life at the default limit":             {func(_ *testing.T, f *facts) { f.token.ExpiresAt = date(now - 60 + 86400) }, ""},
		"a life past the default limit":           {func(_ *testing.T, f *facts) { f.token.ExpiresAt = date(now - 60 + 86401) }, "lifetime.too_long"},
		"a life a fraction past the limit":        {func(t *testing.T, f *facts) { f.token.ExpiresAt = fraction(t, "1795546340.000000001") }, "lifetime.too_long"},
		"a life at its issuer's limit":            {func(_ *testing.T, f *facts) { f.issuer.HardMaxLifetime = 360 * time.Second }, ""},
		"a life past its issuer's limit":          {func(_ *testing.T, f *facts) { f.issuer.HardMaxLifetime = 359 * time.Second }, "lifetime.too_long"},
		"no iat, and the rest at the limit":       {func(_ *testing.T, f *facts) { f.token.IssuedAt, f.token.ExpiresAt = nil, date(now+86400) }, ""},
		"no iat, and the rest past the limit":     {func(_ *testing.T, f *facts) { f.token.IssuedAt, f.token.ExpiresAt = nil, date(now+86401) }, "lifetime.too_long"},
		"iat ahead does not lengthen a life":      {func(_ *testing.T, f *facts) { f.token.IssuedAt, f.token.ExpiresAt = date(now+9000), date(now+30+86401) }, "lifetime.too_long"},
		"iat ahead counts up to leeway":           {func(_ *testing.T, f *facts) { f.token.IssuedAt, f.token.ExpiresAt = date(now+9000), date(now+30+86400) }, ""},
		"an iat long ago shortens what is left":   {func(_ *testing.T, f *facts) { f.token.IssuedAt = date(now - 86400) }, "lifetime.too_long"},
		"exp at the end of time":                  {func(_ *testing.T, f *facts) { f.token.ExpiresAt = date(1 << 53) }, "lifetime.too_long"},
		"revoked, but it is not known what":       {func(_ *testing.T, f *facts) { f.revocation.Revoked = "thing" }, "revocation.thing"},
		"a feed that is stale is policy's affair": {func(_ *testing.T, f *facts) { f.revocation = pdp.Revocation{Known: true, AgeSeconds: 1e9} }, ""},
	}
	for _, kind := range []string{"token", "subject", "client", "session", "key", "issuer"} {
		cases["revoked by "+kind] = struct {
			spoil func(t *testing.T, f *facts)
			code  string
		}{func(_ *testing.T, f *facts) { f.revocation = pdp.Revocation{Known: true, Revoked: kind} }, "revocation." + kind}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := goodFacts(t)
			tc.spoil(t, f)
			d := decide(t, f.config(t, says(allowing())))
			if tc.code == "" {
				if !d.Allow || len(d.Reasons) > 0 {
					t.Errorf("denied for %q", denials(d))
				}
				return
			}
			checkDenied(t, d, tc.code)
			for _, r := range d.Reasons {
				if r.Message == "" || r.Severity == "" {
					t.Errorf("%s: message %q, severity %q", r.Code, r.Message, r.Severity)
				}
			}
		})
	}
}

// Whatever the examination says of a token that is not verified, it is denied for that reason.
func TestFloorDeniesEveryStatusButVerified(t *testing.T) {
	for _, status := range []pdp.Status{"", pdp.StatusMalformed, pdp.StatusUnsupported, pdp.StatusUndecryptable, pdp.StatusIssuerUntrusted,
		pdp.StatusAlgorithmRefused, pdp.StatusKeyUnknown, pdp.StatusSignatureInvalid, "VERIFIED", "verified "} {
		t.Run(string(status), func(t *testing.T) {
			f := goodFacts(t)
			f.config(t, nil) // which gives it trust
			f.verification.Status = status
			checkDenied(t, decide(t, f.config(t, says(allowing()))), "signature.invalid")
			f.verification.Reason = pdp.NewFloorReason("signature.malformed", "why", nil)
			checkDenied(t, decide(t, f.config(t, says(allowing()))), "signature.malformed")
		})
	}
}

func TestFloorTellsEverythingAtOnce(t *testing.T) {
	f := goodFacts(t)
	f.keys[0].Thumbprint = "other"
	f.issuer = pdp.Issuer{ID: issuerID, Algorithms: []string{"RS256"}, HardMaxLifetime: time.Second}
	f.revocation.Revoked = "key"
	f.token.NotBefore, f.token.ExpiresAt, f.token.Unusable = date(now+100), date(now-40), []string{"iat"}
	f.token.IssuedAt = date(now - 600)
	checkDenied(t, decide(t, f.config(t, says(allowing()))), "signature.key_unknown", "algorithm.not_allowed", "revocation.key",
		"claims.wrong_type", "lifetime.not_yet_valid", "lifetime.expired", "lifetime.too_long")
}

func TestLeewayIsConfigured(t *testing.T) {
	for name, tc := range map[string]struct {
		leeway time.Duration
		exp    int64
		allow  bool
	}{
		"inside": {5 * time.Second, now - 4, true}, "at the limit": {5 * time.Second, now - 5, false},
		"none, inside": {0, now + 1, true}, "none, at the limit": {0, now, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := goodFacts(t)
			f.token.ExpiresAt = date(tc.exp)
			c := f.config(t, says(allowing()))
			c.Leeway = tc.leeway
			if d := decide(t, c); d.Allow != tc.allow {
				t.Errorf("allow %v, want %v: %q", d.Allow, tc.allow, denials(d))
			}
		})
	}
}

// What the floor says of a life that is too long is the arithmetic, in numbers.
func TestFloorDetails(t *testing.T) {
	f := goodFacts(t)
	f.issuer.HardMaxLifetime = 100 * time.Second
	d := decide(t, f.config(t, says(allowing())))
	checkDenied(t, d, "lifetime.too_long")
	if r := d.Reasons[0]; r.Details["actual_seconds"] != int64(360) || r.Details["limit_seconds"] != int64(100) || r.Severity != pdp.High {
		t.Errorf("reason %+v", r)
	}
}

func TestFloorReasonsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range pdp.FloorReasons() {
		if seen[r.Code] || r.Title == "" || r.Severity == "" || len(r.Controls) == 0 {
			t.Errorf("%+v is listed twice or lacks something", r)
		}
		seen[r.Code] = true
		if made := pdp.NewFloorReason(r.Code, "m", nil); made.Severity != r.Severity || made.Enforcement != pdp.Deny || !slices.Equal(made.Controls, r.Controls) {
			t.Errorf("NewFloorReason(%s) = %+v", r.Code, made)
		}
	}
	if r := pdp.NewFloorReason("no.such", "m", nil); r.Enforcement != pdp.Deny || r.Severity != pdp.Critical {
		t.Errorf("an unknown code makes %+v, want a critical deny", r)
	}
}

func TestKeyFits(t *testing.T) {
	ec := func(curve elliptic.Curve) pdp.Key { return ecKey(t, curve) }
	for name, tc := range map[string]struct {
		key  pdp.Key
		fits []string
		kty  string
		crv  string
		bits int
	}{
		"P-256":         {ec(elliptic.P256()), []string{"ES256"}, "EC", "P-256", 256},
		"P-384":         {ec(elliptic.P384()), []string{"ES384"}, "EC", "P-384", 384},
		"P-521":         {ec(elliptic.P521()), []string{"ES512"}, "EC", "P-521", 521},
		"P-224":         {ec(elliptic.P224()), nil, "EC", "P-224", 224},
		"RSA":           {rsaKey(t), []string{"PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}, "RSA", "", 2048},
		"Ed25519":       {pdp.Key{Public: ed25519.PublicKey(make([]byte, 32))}, []string{"EdDSA", "Ed25519"}, "OKP", "Ed25519", 256},
		"RSA for PS256": {withAlg(rsaKey(t), "PS256"), []string{"PS256"}, "RSA", "", 2048},
		"RSA for ES256": {withAlg(rsaKey(t), "ES256"), nil, "RSA", "", 2048},
		"RSA for HS256": {withAlg(rsaKey(t), "HS256"), nil, "RSA", "", 2048},
		"a secret":      {pdp.Key{Public: []byte("secret")}, nil, "", "", 0},
		"nothing":       {pdp.Key{}, nil, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var fits []string
			for _, alg := range append(pdp.Algorithms(), "", "none", "HS256", "es256", "RSA-OAEP") {
				if tc.key.Fits(alg) {
					fits = append(fits, alg)
				}
			}
			if !slices.Equal(fits, tc.fits) {
				t.Errorf("fits %q, want %q", fits, tc.fits)
			}
			if tc.key.Type() != tc.kty || tc.key.Curve() != tc.crv || tc.key.Bits() != tc.bits {
				t.Errorf("%s %s %d, want %s %s %d", tc.key.Type(), tc.key.Curve(), tc.key.Bits(), tc.kty, tc.crv, tc.bits)
			}
		})
	}
}
