package transit_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// cluster is as much of a Kubernetes API server as Vault asks: TokenReview (authentication.k8s.io/v1). It
// knows the tokens that it has projected, and forgets those that have expired.
type cluster struct {
	*httptest.Server
	mu    sync.Mutex // guards valid
	valid map[string]bool
}

const serviceAccount, serviceAccountUID = "system:serviceaccount:pdp:assay", "5b1e1b0e-6c3f-4a3e-9d0a-0e8f4b8f8d11"

func newCluster(t *testing.T) *cluster {
	c := &cluster{valid: make(map[string]bool)}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(c.review))
	t.Cleanup(c.Close)
	return c
}

func (c *cluster) review(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Spec struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
	}
	if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
		http.NotFound(w, r)
		return
	}
	c.mu.Lock()
	known := c.valid[review.Spec.Token]
	c.mu.Unlock()
	status := map[string]any{"authenticated": known}
	if known {
		status["user"] = map[string]any{"username": serviceAccount, "uid": serviceAccountUID}
		status["audiences"] = review.Spec.Audiences
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
}

// project makes a service account token; those made before are no longer valid.
func (c *cluster) project(t *testing.T) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{
		"iss": "https://kubernetes.default.svc", "sub": serviceAccount, "aud": []string{"vault"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "jti": rand.Text(),
		"kubernetes.io": map[string]any{"namespace": "pdp", "serviceaccount": map[string]any{"name": "assay", "uid": serviceAccountUID}},
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"ES256"}`)) + "." + encode(claims)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	token := input + "." + encode(signature)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.valid = map[string]bool{token: true}
	return token
}

func TestKubernetes(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	issuerOf(f)
	cluster := newCluster(t)
	mount := f.mount + "-kubernetes"
	f.write("sys/auth/"+mount, map[string]any{"type": "kubernetes"})
	f.write("auth/"+mount+"/config", map[string]any{
		"kubernetes_host": cluster.URL, "disable_local_ca_jwt": true, "token_reviewer_jwt": "reviewer",
		"kubernetes_ca_cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw})),
	})
	f.write("auth/"+mount+"/role/assay", map[string]any{
		"bound_service_account_names": "assay", "bound_service_account_namespaces": "pdp", "audience": "vault",
		"token_policies": f.desired.Prefix + "issuer", "token_no_default_policy": true, "token_ttl": "1h",
	})
	path := filepath.Join(t.TempDir(), "token")
	f.writeFile(path, cluster.project(t))
	c := f.client(f.server.Address, transit.Kubernetes{Mount: mount, Role: "assay", TokenFile: path})
	if err := sign(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	revoke := func() { f.write("sys/leases/revoke-prefix/auth/"+mount+"/login", nil) }

	// The kubelet has replaced the projected token; the next login must use the new one.
	f.writeFile(path, cluster.project(t))
	revoke()
	if err := sign(t.Context(), c); err != nil {
		t.Fatalf("after the projected token was replaced: %v", err)
	}

	// An expired one is refused, which is no fault of Vault's, and is got over once it is replaced.
	next := cluster.project(t)
	revoke()
	eventually(t, "is refused", func() bool {
		err := sign(t.Context(), c)
		return errors.Is(err, transit.ErrUnavailable) && errors.Is(err, transit.ErrDenied)
	})
	if !c.Status().Reachable {
		t.Fatal("the breaker opened")
	}
	f.writeFile(path, next)
	eventually(t, "signs again", func() bool { return sign(t.Context(), c) == nil })

	// A role that is not ours.
	c = f.client(f.server.Address, transit.Kubernetes{Mount: mount, Role: "other", TokenFile: path})
	if err := sign(t.Context(), c); !errors.Is(err, transit.ErrUnavailable) || !strings.Contains(err.Error(), fmt.Sprintf("auth/%s/login", mount)) {
		t.Fatalf("error %v, want one that names the login", err)
	}
}
