// Command vaultserver is a real HashiCorp Vault, cut down to what Assay uses, for development and tests
// on a machine that has only Go: Vault's own core, HTTP handler, identity store (with its OIDC provider)
// and token store, the transit and AppRole, Kubernetes and userpass plugins, over memory or files.
//
//	vaultserver -dev                                  in memory, initialised and unsealed
//	vaultserver -storage file -dir D                  in files; initialised once, unsealed at every start
//	vaultserver -storage file -dir D -sealed          the same, left sealed
//
// When it serves it writes one line of JSON to standard output:
//
//	{"address":"http://127.0.0.1:40123","root_token":"…","unseal_key":"…"}
//
// SIGTERM and SIGINT stop it cleanly; so does the end of standard input with -exit-with-stdin, so that
// no server outlives the program that started it.
//
// It is NOT for production: one unseal key, kept with the root token in D/unseal.json beside the data
// that it protects, no memory locking, no audit device.
//
// Vault is licensed under BUSL-1.1. That is why this is a module of its own: nothing of it is ever linked
// into assay, which links only Vault's API client (MPL-2.0). Whoever has vault or bao on the PATH, or a
// Vault elsewhere, needs none of it.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

// options are the command line.
type options struct {
	listen        string
	dev           bool
	storage       string
	dir           string
	sealed        bool
	rootToken     string
	tlsCert       string
	tlsKey        string
	logLevel      string
	exitWithStdin bool
}

// ready is the line that tells the starter where the server is and how to get in.
type ready struct {
	Address   string `json:"address"`
	RootToken string `json:"root_token"`
	UnsealKey string `json:"unseal_key"`
}

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		err = run(ctx, o, os.Stdin, os.Stdout, os.Stderr)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "vaultserver:", err)
		os.Exit(1)
	}
}

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("vaultserver", flag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "`address` to serve on; port 0 takes a free one")
	flags.BoolVar(&o.dev, "dev", false, "keep everything in memory, initialise and unseal (the same as -storage inmem)")
	flags.StringVar(&o.storage, "storage", "inmem", "where data is kept: inmem or file")
	flags.StringVar(&o.dir, "dir", "", "`directory` of -storage file; it also holds the unseal key")
	flags.BoolVar(&o.sealed, "sealed", false, "stay sealed")
	flags.StringVar(&o.rootToken, "root-token", "", "fixed `id` for the root token of a new storage; default: random")
	flags.StringVar(&o.tlsCert, "tls-cert", "", "PEM `file` of the certificate; default: no TLS")
	flags.StringVar(&o.tlsKey, "tls-key", "", "PEM `file` of the certificate's key")
	flags.StringVar(&o.logLevel, "log-level", "warn", "trace, debug, info, warn or error; the log goes to standard error")
	flags.BoolVar(&o.exitWithStdin, "exit-with-stdin", false, "stop when standard input ends")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.storage != "inmem" && o.storage != "file":
		return o, fmt.Errorf("-storage %q: it must be inmem or file", o.storage)
	case o.dev && o.storage != "inmem":
		return o, errors.New("-dev keeps everything in memory: leave out -storage, or leave out -dev")
	case o.storage == "file" && o.dir == "":
		return o, errors.New("-storage file needs -dir")
	case (o.tlsCert == "") != (o.tlsKey == ""):
		return o, errors.New("-tls-cert and -tls-key go together")
	}
	return o, nil
}

// run serves until ctx ends, or standard input where that was asked for.
func run(ctx context.Context, o options, stdin io.Reader, stdout, stderr io.Writer) error {
	if o.exitWithStdin {
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		go func() {
			_, _ = io.Copy(io.Discard, stdin) // an error ends the input as well
			stop()
		}()
	}
	logger := hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.LevelFromString(o.logLevel), Output: stderr})
	core, err := newCore(o, logger)
	if err != nil {
		return err
	}
	keys, err := open(o, core)
	if err != nil {
		return errors.Join(err, core.Shutdown())
	}
	listener, scheme, err := listen(o)
	if err != nil {
		return errors.Join(err, core.Shutdown())
	}
	server := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{Address: listener.Addr().String()},
		}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	line := ready{Address: scheme + "://" + listener.Addr().String(), RootToken: keys.RootToken, UnsealKey: keys.UnsealKey}
	if err := json.NewEncoder(stdout).Encode(line); err != nil {
		return errors.Join(err, server.Close(), core.Shutdown())
	}
	select {
	case err = <-served:
	case <-ctx.Done():
		err = nil
	}
	return errors.Join(err, stop(server, core))
}

// stop lets requests that were accepted finish, then closes the core.
func stop(server *http.Server, core *vault.Core) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close() // requests that outlast the grace are cut off: nothing more can be done for them
	}
	return core.Shutdown()
}

func listen(o options) (net.Listener, string, error) {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil || o.tlsCert == "" {
		return listener, "http", err
	}
	certificate, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
	if err != nil {
		return nil, "", errors.Join(err, listener.Close())
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	return tls.NewListener(listener, config), "https", nil
}
