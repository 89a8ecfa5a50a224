package destination_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp/audit/destination"
)

// A server that quotes the token that it was sent, in an answer that is not HTTP.
func TestWhatTheOtherSideWritesIsNotTold(t *testing.T) {
	const secret = "token-that-nobody-may-read"
	for name, answer := range map[string]string{
		"a header line": "HTTP/1.1 200 OK\r\nno colon: but then " + secret + "\r\n" + secret + "\r\n\r\n",
		"the version":   "HTTP/" + secret + " 200 OK\r\n\r\n",
		"the status":    "HTTP/1.1 " + secret + "\r\n\r\n",
		"no HTTP":       secret + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			err := ask(t, answer)
			if err == nil || !strings.Contains(err.Error(), secret) {
				t.Fatalf("net/http does not quote it: %v", err)
			}
			told := destination.Told(err)
			if strings.Contains(told.Error(), secret) || !strings.Contains(told.Error(), "not HTTP that can be read") {
				t.Errorf("told %q", told)
			}
		})
	}
	if told := destination.Told(ask(t, "")); !strings.Contains(told.Error(), "closed without an answer") {
		t.Errorf("of a closed connection: %q", told)
	}
}

// ask sends a request to a server that answers with these bytes.
func ask(t *testing.T, answer string) error {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // the test's own
	go func() {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = http.ReadRequest(bufio.NewReader(connection))
		_, _ = fmt.Fprint(connection, answer)
		_ = connection.Close()
	}()
	return get(t.Context(), "http://"+listener.Addr().String())
}

func get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &http.Transport{}}).Do(request)
	if err == nil {
		err = response.Body.Close()
	}
	return err
}

// What an operator needs to find the cause stays.
func TestCausesOfOurSideAreTold(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	if told := destination.Told(get(t.Context(), server.URL)); !strings.Contains(told.Error(), "certificate") {
		t.Errorf("of an unknown authority: %v", told)
	}
	server.Close()
	if told := destination.Told(get(t.Context(), server.URL)); !strings.Contains(told.Error(), "refused") {
		t.Errorf("of a server that is away: %v", told)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if told := destination.Told(get(ended, server.URL)); !errors.Is(told, context.Canceled) {
		t.Errorf("of a request that was given up: %v", told)
	}
	if other := errors.New("other"); !errors.Is(destination.Told(other), other) {
		t.Error("another error is changed")
	}
}
