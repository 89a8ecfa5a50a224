// Package program builds the real program for a test package and serves with it, as a user would: tests see
// what comes over HTTP and what stands in its log.
package program

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Run builds the program, tells where it is, and runs the tests; it is the body of a TestMain, whose exit
// code it answers.
func Run(m *testing.M, built func(path string)) int {
	dir, err := os.MkdirTemp("", "assay-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // a left-over in the temporary folder harms nobody
	path := filepath.Join(dir, "assay")
	output, err := exec.Command("go", "build", "-o", path, "github.com/assaypdp/assay/cmd/assay").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, output)
		return 1
	}
	built(path)
	return m.Run()
}

// tokenBegins are what a token's header or payload begins with: "eyJ" alone also stands in one of some thousands of hashes
// and kids.
func tokenBegins() []string {
	var all []string
	for _, name := range []string{"alg", "typ", "kid", "iss", "aud", "sub", "jti", "client_id"} {
		text := fmt.Sprintf(`{"%s":`, name)
		all = append(all, base64.RawURLEncoding.EncodeToString([]byte(text))[:len(text)*4/3]) // the last may depend on what follows
	}
	return all
}

// Serve runs `assay serve` with these arguments until the test ends, and answers the address that it listens
// on. It must end in good order, and its log may hold no panic, no token and none of the secrets.
func Serve(t testing.TB, path string, arguments []string, secrets ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, path, append([]string{"serve"}, arguments...)...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = time.Minute
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer // the goroutine's until done is closed
	address, done := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(done)
		defer close(address)
		scanner := bufio.NewScanner(stderr)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			log.Write(append(scanner.Bytes(), '\n'))
			var event struct{ Msg, Address string }
			if json.Unmarshal(scanner.Bytes(), &event) == nil && event.Msg == "listening" {
				address <- event.Address
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		var exit *exec.ExitError
		if err := command.Wait(); errors.As(err, &exit) {
			t.Errorf("the program ended with %v", err)
		}
		for _, word := range append(append([]string{"panic"}, tokenBegins()...), secrets...) {
			if i := strings.Index(log.String(), word); i >= 0 {
				t.Errorf("the log holds %q: …%.300s", word, log.String()[max(0, i-100):])
			}
		}
		if t.Failed() {
			t.Logf("the program's log ends with:\n%s", log.String()[max(0, log.Len()-4000):])
		}
	})
	at, ok := <-address
	if !ok {
		t.Fatal("the program did not listen")
	}
	return at
}
