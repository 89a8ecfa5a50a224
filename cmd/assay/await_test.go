package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// await asks the server until its answer matches: what a server does by itself, such as loading a bundle anew, is
// done some time after the script's last step. It is the script's "await METHOD PATH REGEXP [BODYFILE]".
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: await METHOD PATH REGEXP [BODYFILE]")
	}
	wanted, err := regexp.Compile(args[2])
	ts.Check(err)
	var body string
	if len(args) == 4 {
		body = os.Expand(ts.ReadFile(args[3]), func(name string) string { return strings.TrimSpace(ts.ReadFile(name)) })
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var last string
	for ctx.Err() == nil {
		if last = ask(ctx, args[0], ts.Getenv("URL")+args[1], body); wanted.MatchString(last) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("%s %s never answered %s; its last answer: %s", args[0], args[1], wanted, last)
}

// ask answers the body, or the error.
func ask(ctx context.Context, method, url, body string) string {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end or cannot be
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return string(answer)
}
