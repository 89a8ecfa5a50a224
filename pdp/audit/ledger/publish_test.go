package ledger

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAFileIsReplacedByEachCheckpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outside")
	p := FilePublisher{Path: path}
	for _, text := range []string{"one\n", "another\n"} {
		if err := p.Publish(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if err := (FilePublisher{Path: filepath.Join(path, "none")}).Publish(t.Context(), nil); err == nil {
		t.Error("it was published where nothing can be")
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: something was left behind", entries, err)
	}
}

func TestAServerIsSentEachCheckpoint(t *testing.T) {
	var got []string
	status := http.StatusNoContent
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization")+" "+string(body))
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	authority, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(token, []byte("secret-of-the-test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := NewHTTPPublisher(HTTPConfig{URL: server.URL + "/checkpoint", TokenFile: token, CAFile: authority})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), []byte("one")); err != nil || len(got) != 1 || got[0] != "PUT /checkpoint Bearer secret-of-the-test one" {
		t.Fatalf("%q, %v", got, err)
	}
	for _, refused := range []int{http.StatusFound, http.StatusForbidden, http.StatusServiceUnavailable} {
		status, got = refused, nil
		err := p.Publish(t.Context(), []byte("two"))
		if err == nil || strings.Contains(err.Error(), "secret") || len(got) != 1 {
			t.Errorf("%d: %v, %d requests", refused, err, len(got))
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := p.Publish(ended, nil); err == nil {
		t.Error("it was published after it was ended")
	}
	stranger, err := NewHTTPPublisher(HTTPConfig{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Publish(t.Context(), nil); err == nil {
		t.Error("a server with a certificate that nobody vouches for was trusted")
	}
	if _, err := NewHTTPPublisher(HTTPConfig{URL: server.URL, CAFile: token}); err == nil {
		t.Error("a file without certificates was taken for authorities")
	}
}

// A server that quotes the token that it was sent, in a trailer that is none: net/http's error quotes that.
func TestWhatAServerWritesBehindItsAnswerIsNotTold(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%s\r\n\r\n", r.Header.Get("Authorization")) // who published may be gone
		_ = connection.Close()
	}))
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret-of-the-test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := NewHTTPPublisher(HTTPConfig{URL: server.URL, TokenFile: token, Timeout: 3 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), []byte("one")); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("told %v", err)
	}
}
