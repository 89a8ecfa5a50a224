package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server answers in turn, the last answer for good; asked tells what it was asked.
func server(t *testing.T, answers ...func(w http.ResponseWriter)) (address string, asked func() []string) {
	t.Helper()
	var (
		mu   sync.Mutex // an aborted handler may still run while the next is called
		seen []string
	)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		seen = append(seen, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), body)))
		answer := answers[min(len(seen), len(answers))-1]
		mu.Unlock()
		answer(w)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

func says(status int, body string, fields ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func connect(t *testing.T, address string, waits *[]time.Duration) *Client {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Address: address, TokenFile: token, Wait: func(_ context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAKeyIsRevokedThoughTheServerIsBusyAtFirst(t *testing.T) {
	address, asked := server(t, says(503, `{"detail":"busy"}`, "Retry-After", "3"), func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, says(201, `{"key":"k"}`))
	var waits []time.Duration
	if err := connect(t, address, &waits).Revoke(t.Context(), "https://idp.example", "thumb", "leaked", "SEC-1"); err != nil {
		t.Fatal(err)
	}
	want := `POST /revocations Bearer abc {"kind":"key","issuer":"https://idp.example","value":"thumb","reason":"leaked","ticket":"SEC-1"}`
	if !slices.Equal(asked(), []string{want, want, want}) || waits[0] != 3*time.Second || len(waits) != 2 {
		t.Errorf("asked %q, waited %v", asked(), waits)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, want string
		answer     func(http.ResponseWriter)
		attempts   int
	}{
		{"not granted", "the server answered 403: not granted to this caller: write key", says(403, `{"status":403,"detail":"not granted to this caller: write key"}`), 1},
		{"not an Assay", "the server answered 404: Not Found", says(404, "<html>"), 1},
		{"moved", "the server answered 307: Temporary Redirect", says(307, "", "Location", "http://elsewhere.example/"), 1},
		{"busy for good", "the server answered 503: busy", says(503, `{"detail":"busy"}`), DefaultAttempts},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, asked := server(t, c.answer)
			var waits []time.Duration
			_, _, err := connect(t, address, &waits).Add(t.Context(), Order{Token: "t"})
			if err == nil || err.Error() != c.want || len(asked()) != c.attempts {
				t.Errorf("%v after %d", err, len(asked()))
			}
		})
	}
	address, _ := server(t, says(404, `{"type":"urn:assay:problem:not-found"}`))
	if err := connect(t, address, new([]time.Duration)).Lift(t.Context(), "k", "", ""); !errors.Is(err, &Error{Status: 404}) || errors.Is(err, &Error{Status: 403}) {
		t.Errorf("%v", err)
	}
	address, _ = server(t, says(200, `hello`))
	if _, err := connect(t, address, new([]time.Duration)).Find(t.Context(), "k"); err == nil {
		t.Error("an answer that is none was taken")
	}
}

func TestAllPagesAreRead(t *testing.T) {
	address, asked := server(t, says(200, `{"revocations":[{"key":"a"},{"key":"b"}],"next":"7"}`), says(200, `{"revocations":[],"next":"9"}`), says(200, `{"revocations":[{"key":"c"}],"next":""}`))
	var keys []string
	err := connect(t, address, new([]time.Duration)).Each(t.Context(), Query{Kind: "token", Issuer: "i"}, func(r Revocation) error {
		keys = append(keys, r.Key)
		return nil
	})
	if err != nil || strings.Join(keys, "") != "abc" {
		t.Errorf("%v %v", keys, err)
	}
	if asked()[2] != "GET /revocations?cursor=9&issuer=i&kind=token&limit=1000 Bearer abc" {
		t.Errorf("%q", asked())
	}
}

func TestWatchingGoesOnWhereItWas(t *testing.T) {
	address, asked := server(t, says(200, `{"changes":[],"next":"7"}`), says(503, `{}`), says(200, `{"changes":[{"lifted":true,"at":1,"revocation":{"key":"a"}}],"next":"8"}`),
		says(200, `{"changes":[],"next":"9"}`), says(200, `{"changes":[{"revocation":{"key":"b"}}],"next":"10"}`))
	enough := errors.New("enough")
	var seen []string
	ready := 0
	err := connect(t, address, new([]time.Duration)).Watch(t.Context(), Query{Kind: "key"}, func() { ready++ }, func(c Change) error {
		if seen = append(seen, fmt.Sprint(c.Revocation.Key, c.Lifted)); len(seen) == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || ready != 1 || !slices.Equal(seen, []string{"atrue", "bfalse"}) {
		t.Errorf("%v, %d, %v", err, ready, seen)
	}
	cursors := strings.Join(asked(), "")
	for _, part := range []string{"?kind=key ", "cursor=7", "cursor=8", "cursor=9"} {
		if !strings.Contains(cursors, part) {
			t.Errorf("%s was not asked in %q", part, asked())
		}
	}
}

func TestAddresses(t *testing.T) {
	for address, good := range map[string]bool{
		"https://assay.example": true, "http://127.0.0.1:8080": true, "http://[::1]:1": true, "http://localhost:1/prefix": true,
		"http://assay.example": false, "assay.example:8080": false, "": false, "https://u:p@assay.example": false, "ftp://localhost": false,
	} {
		if _, err := New(Config{Address: address}); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := New(Config{Address: "https://a", CertFile: "x"}); err == nil {
		t.Error("a certificate without key is accepted")
	}
	if _, err := New(Config{Address: "https://a", CAFile: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("authorities that are not there are accepted")
	}
}
