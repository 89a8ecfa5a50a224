package main

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
)

func newServe(e env) *cobra.Command {
	var path, listen string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve decisions over HTTP",
		Long: `Serve answers POST /decide and the routes that /openapi.json describes, until SIGTERM or Ctrl-C;
then it answers what it accepted and ends.

Without a configuration file it serves on loopback with the embedded policies and no issuers, so that
every token is denied, with a reason. Its log goes to standard error, one JSON object a line.`,
		Example: "  assay serve --config assay.yaml",
		Args:    noArgs,
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file (default: built-in defaults)")
	cmd.Flags().StringVar(&listen, "listen", "", "listen on this host:port instead of the configured one; port 0 picks a free one")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := readConfig(path)
		if err != nil {
			return err
		}
		if listen != "" {
			c.Listen = listen
			if err := c.Recheck(); err != nil {
				return err
			}
		}
		return serveUntilDone(cmd.Context(), e, c)
	}
	return cmd
}

// gcPercent lets the heap grow to five times what lives before it is collected. What lives are the caches,
// tens of megabytes of small objects that are marked anew each time; a request allocates a few kilobytes. With
// Go's own 100 a seventh of all CPU time went into marking. GOGC overrides it, GOMEMLIMIT still holds.
const gcPercent = 400

func serveUntilDone(ctx context.Context, e env, c *config.Config) error {
	if e.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if c.Audit.Configured() && e.getenv("GOMAXPROCS") == "" {
		// Whoever syncs the log keeps one of Go's processors meanwhile, until the runtime notices. On two cores that
		// cost a fifth of all requests. GOMAXPROCS overrides it.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	app, err := serve.New(ctx, c, serve.Deps{Version: version, Now: e.now, Getenv: e.getenv, Log: e.serviceLog(c.LogLevel)})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w; another address can be given with --listen", c.Listen, err)
	}
	return app.Run(ctx, listener)
}
