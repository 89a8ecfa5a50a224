package pdp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

func ecKey(t testing.TB, curve elliptic.Curve) pdp.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pdp.Key{Public: &private.PublicKey}
}

func rsaKey(t testing.TB) pdp.Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return pdp.Key{Public: &private.PublicKey}
}

func withAlg(k pdp.Key, alg string) pdp.Key {
	k.Algorithm = alg
	return k
}

func named(k pdp.Key, kid, thumbprint string) pdp.Key {
	k.ID, k.Thumbprint = kid, thumbprint
	return k
}

func TestIssuerAllows(t *testing.T) {
	for name, tc := range map[string]struct {
		configured []string
		allowed    []string
	}{
		"nothing configured": {nil, pdp.Algorithms()},
		"an empty list":      {[]string{}, pdp.Algorithms()},
		"some":               {[]string{"RS256", "ES256"}, []string{"ES256", "RS256"}},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := pdp.Issuer{Algorithms: tc.configured}
			for _, alg := range append(pdp.Algorithms(), "", "none", "None", "HS256", "es256", "ES256K", "dir") {
				if issuer.Allows(alg) != slices.Contains(tc.allowed, alg) {
					t.Errorf("%q: allowed %v", alg, issuer.Allows(alg))
				}
			}
		})
	}
}

func TestIssuerMaxLifetime(t *testing.T) {
	for configured, want := range map[time.Duration]time.Duration{0: 24 * time.Hour, -1: 24 * time.Hour, time.Second: time.Second, 48 * time.Hour: 48 * time.Hour} {
		if got := (&pdp.Issuer{HardMaxLifetime: configured}).MaxLifetime(); got != want {
			t.Errorf("configured %s: %s, want %s", configured, got, want)
		}
	}
}

func TestNewTrustRefuses(t *testing.T) {
	a, b := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	for name, tc := range map[string]struct {
		keys []pdp.Key
		says string
	}{
		"two keys with one kid":     {[]pdp.Key{named(a, "k", "1"), named(b, "k", "2")}, `two keys have the kid "k"`},
		"one key twice":             {[]pdp.Key{named(a, "k", "1"), named(a, "l", "1")}, "stands twice"},
		"one key twice without kid": {[]pdp.Key{named(a, "", "1"), named(a, "", "1")}, "stands twice"},
	} {
		t.Run(name, func(t *testing.T) {
			trust, err := pdp.NewTrust(pdp.Issuer{ID: issuerID}, tc.keys)
			if trust != nil || err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), issuerID) {
				t.Errorf("got %v, want an error that says %q and names the issuer", err, tc.says)
			}
		})
	}
}

func TestTrustFindsKeys(t *testing.T) {
	keys := []pdp.Key{named(ecKey(t, elliptic.P256()), "a", "1"), named(ecKey(t, elliptic.P384()), "", "2"), named(rsaKey(t), "", "3")}
	trust, err := pdp.NewTrust(pdp.Issuer{ID: issuerID}, keys)
	if err != nil {
		t.Fatal(err)
	}
	keys[0].ID, keys[0].Thumbprint = "changed", "changed" // the snapshot is its own
	if key, ok := trust.KeyByID("a"); !ok || key.Thumbprint != "1" {
		t.Error("kid a is not found")
	}
	for _, kid := range []string{"", "A", "b", "changed", "1"} {
		if _, ok := trust.KeyByID(kid); ok {
			t.Errorf("kid %q is found", kid)
		}
	}
	for _, thumbprint := range []string{"1", "2", "3"} {
		if key, ok := trust.KeyByThumbprint(thumbprint); !ok || key.Thumbprint != thumbprint {
			t.Errorf("thumbprint %s is not found", thumbprint)
		}
	}
	if _, ok := trust.KeyByThumbprint(""); ok || len(trust.Keys()) != 3 {
		t.Error("the empty thumbprint is found, or a key is lost")
	}
}

func TestOnlyKeyFor(t *testing.T) {
	p256, again, p384, rsa := named(ecKey(t, elliptic.P256()), "a", "1"), named(ecKey(t, elliptic.P256()), "b", "2"), named(ecKey(t, elliptic.P384()), "c", "3"), named(rsaKey(t), "d", "4")
	for name, tc := range map[string]struct {
		keys []pdp.Key
		alg  string
		want string
	}{
		"no key":                          {nil, "ES256", ""},
		"none that fits":                  {[]pdp.Key{p384, rsa}, "ES256", ""},
		"one that fits among others":      {[]pdp.Key{p384, p256, rsa}, "ES256", "1"},
		"two that fit":                    {[]pdp.Key{p256, again}, "ES256", ""},
		"two, of which one names its alg": {[]pdp.Key{rsa, withAlg(named(rsaKey(t), "e", "5"), "PS256")}, "RS256", "4"},
		"no algorithm":                    {[]pdp.Key{p256}, "none", ""},
	} {
		t.Run(name, func(t *testing.T) {
			trust, err := pdp.NewTrust(pdp.Issuer{ID: issuerID}, tc.keys)
			if err != nil {
				t.Fatal(err)
			}
			key, ok := trust.OnlyKeyFor(tc.alg)
			if ok != (tc.want != "") || ok && key.Thumbprint != tc.want {
				t.Errorf("found %v %+v, want thumbprint %q", ok, key, tc.want)
			}
		})
	}
}

func TestPreparedIsOfOneRevision(t *testing.T) {
	var token pdp.Token
	if token.Prepared("r1") != nil || token.Prepared("") != nil {
		t.Error("something is kept with a new token")
	}
	token.KeepPrepared("r1", 1)
	if token.Prepared("r1") != 1 || token.Prepared("r2") != nil {
		t.Error("what r1 kept is not given to r1 alone")
	}
	token.KeepPrepared("r2", 2)
	if token.Prepared("r1") != nil || token.Prepared("r2") != 2 {
		t.Error("r2 does not stand in place of r1")
	}
}
