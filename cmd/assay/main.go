// Command assay is a policy decision point for JSON Web Tokens. See README.md.
//
// main maps errors to exit codes: 0 done (decide: allow), 1 the answer is no (decide: deny; config check:
// problems), 2 it could not be done. Nothing below it exits or reads the environment by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

// version is set by the linker; see the Makefile.
var version = "devel"

// errNo is the answer no: exit code 1, with nothing more to say than was printed.
var errNo = errors.New("no")

// env is what a command has of the world around it.
type env struct {
	in       io.Reader
	out, err io.Writer
	// terminal tells that out is one, so that a person reads it.
	terminal bool
	now      func() time.Time
	getenv   func(string) string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := run(ctx, os.Args[1:], env{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		terminal: term.IsTerminal(int(os.Stdout.Fd())),
		now:      time.Now,
		getenv:   os.Getenv,
	})
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, e env) int {
	root := newRoot(e)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNo):
		return 1
	}
	_, _ = fmt.Fprintf(e.err, "assay: %v\n", err)
	return 2
}
