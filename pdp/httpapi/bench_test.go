package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"github.com/assaypdp/assay/pdp"
)

type noDecider struct{}

func (noDecider) Decide(context.Context, *pdp.Request) (*pdp.Decision, error) {
	return benchDecision(), nil
}

type noIssuer struct{}

func (noIssuer) Issue(context.Context, pdp.Caller, TokenOrder) (IssuedToken, error) {
	return IssuedToken{}, nil
}

var benchExpiry = pdp.UnixDate(1795460000)

// benchDecision is an allow as the default policies give it for an RFC 9068 access token.
func benchDecision() *pdp.Decision {
	return &pdp.Decision{
		ID: "01JDPR2Q4M3V7C9T5H8K6N1W0X", Allow: true,
		Token: pdp.TokenSummary{
			Status: pdp.StatusVerified, Kind: "jws", Algorithm: "ES256", KeyID: "9BTzqDUv_QuqPYNr8aOH6RNGcQvA4r_gTcyOTtC4qOc",
			Type: "at+jwt", Issuer: "https://idp.example", TokenID: "b6c1f0c2", ExpiresAt: &benchExpiry,
		},
		Claims:          benchClaims,
		CacheForSeconds: 60, PolicyRevision: "sha256:3c2b1a", EvaluatedAt: benchTime,
	}
}

var (
	benchTime   = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	benchClaims = map[string]any{
		"iss": "https://idp.example", "sub": "user-4711", "aud": "orders", "exp": json.Number("1795460000"), "iat": json.Number("1795459400"),
		"jti": "b6c1f0c2", "scope": "orders.read", "client_id": "web-shop",
	}
	benchBody = []byte(`{"token":"` + strings.Repeat("eyJhbGciOiJFUzI1NiIsImtpZCI6Ij", 18) +
		`","request":{"audience":"orders","action":"read","resource":"/orders/42","method":"GET","path":"/orders/42","client_ip":"192.0.2.7"},"purpose":"fulfilment"}`)
)

// plain is the peer: a gorilla/mux handler that decodes the same body with encoding/json and encodes the
// same answer from structs.
func plain() http.Handler {
	type body struct {
		Token   string `json:"token"`
		Request struct {
			Audience  string `json:"audience"`
			TokenType string `json:"token_type"`
			Action    string `json:"action"`
			Resource  string `json:"resource"`
			Method    string `json:"method"`
			Path      string `json:"path"`
			ClientIP  string `json:"client_ip"`
		} `json:"request"`
		Purpose string         `json:"purpose"`
		Context map[string]any `json:"context"`
	}
	type answer struct {
		ID      string `json:"decision_id"`
		Allow   bool   `json:"allow"`
		Reasons []struct {
			Code string `json:"code"`
		} `json:"reasons"`
		Token struct {
			Status  string `json:"status"`
			Kind    string `json:"kind"`
			Alg     string `json:"alg"`
			Kid     string `json:"kid"`
			Typ     string `json:"typ"`
			Issuer  string `json:"issuer"`
			ID      string `json:"token_id"`
			Expires int64  `json:"expires_at"`
		} `json:"token"`
		Claims      map[string]any `json:"claims"`
		Obligations struct{}       `json:"obligations"`
		Cache       int64          `json:"cache_for_seconds"`
		Policy      struct {
			Revision string `json:"revision"`
		} `json:"policy"`
		At time.Time `json:"evaluated_at"`
	}
	router := mux.NewRouter()
	router.HandleFunc("/decide", func(w http.ResponseWriter, r *http.Request) {
		var b body
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || b.Token == "" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		d := benchDecision()
		var a answer
		a.ID, a.Allow, a.Claims, a.Cache, a.At = d.ID, d.Allow, d.Claims, d.CacheForSeconds, d.EvaluatedAt
		a.Token.Status, a.Token.Kind, a.Token.Alg, a.Token.Kid = string(d.Token.Status), d.Token.Kind, d.Token.Algorithm, d.Token.KeyID
		a.Token.Typ, a.Token.Issuer, a.Token.ID, a.Token.Expires = d.Token.Type, d.Token.Issuer, d.Token.TokenID, d.Token.ExpiresAt.Floor()
		a.Policy.Revision = d.PolicyRevision
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a) // nobody to tell
	}).Methods(http.MethodPost)
	return router
}

// sink is a ResponseWriter that is used again and costs both handlers the same.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

type rewound struct{ bytes.Reader }

func (*rewound) Close() error { return nil }

// serveOnce prepares one request and answers a func that serves it once more.
func serveOnce(b *testing.B, h http.Handler) func() {
	b.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://localhost/decide", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(benchBody))
	body := &rewound{}
	r.Body = body
	w := &sink{header: make(http.Header)}
	return func() {
		body.Reset(benchBody)
		clear(w.header)
		w.status = http.StatusOK
		h.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
}

// BenchmarkDecide reports the time of POST /decide, with a Decider that answers at once, as a ratio to the
// plain handler's in alternating rounds of the same run: below 1 is faster than the peer.
func BenchmarkDecide(b *testing.B) {
	for _, c := range []struct {
		name string
		log  *slog.Logger
	}{{"without access log", nil}, {"with access log", slog.New(slog.NewJSONHandler(io.Discard, nil))}} {
		b.Run(c.name, func(b *testing.B) {
			api, err := New(Config{Decider: noDecider{}, Open: true, Hosts: []string{"localhost"}, AccessLog: c.log})
			if err != nil {
				b.Fatal(err)
			}
			ours, peer := serveOnce(b, api), serveOnce(b, plain())
			const round = 100
			var oursTook, peerTook time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				for range round {
					ours()
				}
				middle := time.Now()
				for range round {
					peer()
				}
				oursTook += middle.Sub(start)
				peerTook += time.Since(middle)
			}
			b.ReportMetric(float64(oursTook)/float64(peerTook), "x-plain")
			b.ReportMetric(float64(oursTook.Nanoseconds())/float64(b.N*round), "ns/decide")
			b.ReportMetric(float64(peerTook.Nanoseconds())/float64(b.N*round), "ns/plain")
		})
	}
}

func BenchmarkParts(b *testing.B) {
	api, err := New(Config{Decider: noDecider{}, Open: true, Hosts: []string{"localhost"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("whole", func(b *testing.B) {
		serve := serveOnce(b, api)
		b.ReportAllocs()
		for b.Loop() {
			serve()
		}
	})
	b.Run("whole, dispatched by mux", func(b *testing.B) {
		serve := serveOnce(b, api.router)
		b.ReportAllocs()
		for b.Loop() {
			serve()
		}
	})
	b.Run("plain", func(b *testing.B) {
		serve := serveOnce(b, plain())
		b.ReportAllocs()
		for b.Loop() {
			serve()
		}
	})
	b.Run("decode", func(b *testing.B) {
		var d decoder
		b.ReportAllocs()
		for b.Loop() {
			d.reset(benchBody)
			if err := d.decide(&pdp.Request{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		var buffer []byte
		decision := benchDecision()
		b.ReportAllocs()
		for b.Loop() {
			if buffer, err = decision.AppendJSON(buffer[:0]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("match", func(b *testing.B) {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://localhost/decide", nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			var match mux.RouteMatch
			if !api.router.Match(r, &match) {
				b.Fatal("no match")
			}
		}
	})
}
