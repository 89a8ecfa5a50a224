package devvault_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/devvault"
	"github.com/assaypdp/assay/test/realvault"
)

func built(t *testing.T) string {
	t.Helper()
	path, err := realvault.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// stock writes a program that takes the arguments and variables of vault and bao, and is the vaultserver.
func stock(t *testing.T, name, prefix string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	script := fmt.Sprintf("#!/bin/sh\n[ \"$*\" = 'server -dev -dev-no-store-token' ] || { echo unknown flag >&2; exit 2; }\n"+
		"exec %q -dev -listen \"$%s_DEV_LISTEN_ADDRESS\" -root-token \"$%s_DEV_ROOT_TOKEN_ID\"\n", built(t), prefix, prefix)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStartAndStop(t *testing.T) {
	tests := []struct {
		name   string
		binary func(t *testing.T) string
	}{
		{"vaultserver", built},
		{"vault", func(t *testing.T) string { return stock(t, "vault", "VAULT") }},
		{"bao", func(t *testing.T) string { return stock(t, "bao", "BAO") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := devvault.Start(t.Context(), devvault.Options{Binary: test.binary(t)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Stop)
			response, err := http.Get(s.Address + "/v1/sys/health")
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("%v, %v", response, err)
			}
			if err := response.Body.Close(); err != nil {
				t.Fatal(err)
			}
			s.Stop()
			select {
			case <-s.Exited():
			default:
				t.Fatal("it still runs")
			}
			if _, err := http.Get(s.Address + "/v1/sys/health"); err == nil {
				t.Fatal("it still answers")
			}
		})
	}
}

func TestStartThatFailsSaysWhy(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "vault")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho no such flag >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := devvault.Start(t.Context(), devvault.Options{Binary: broken}); err == nil || !strings.Contains(err.Error(), "no such flag") {
		t.Fatalf("error %v, want what the program said", err)
	}
	stuck := filepath.Join(dir, "vaultserver")
	if err := os.WriteFile(stuck, []byte("#!/bin/sh\nexec sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := devvault.Start(t.Context(), devvault.Options{Binary: stuck, Timeout: 50 * time.Millisecond}); err == nil {
		t.Fatal("a program that says nothing counts as started")
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, err := devvault.Find(""); !errors.Is(err, devvault.ErrNone) {
		t.Fatalf("error %v, want ErrNone", err)
	}
	for _, name := range []string{"bao", "vault"} { // vault goes first
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if path, err := devvault.Find(""); err != nil || filepath.Base(path) != name {
			t.Fatalf("%q, %v; want %s", path, err, name)
		}
	}
	if path, err := devvault.Find(filepath.Join(dir, "bao")); err != nil || filepath.Base(path) != "bao" {
		t.Fatalf("%q, %v; want the one that was named", path, err)
	}
	if _, err := devvault.Find("absent"); err == nil {
		t.Fatal("a program that is not there was found")
	}
}
