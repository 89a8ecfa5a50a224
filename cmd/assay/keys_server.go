package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/client"
	"github.com/assaypdp/assay/cmd/assay/internal/config"
)

// keyServer is the running Assay that a command about keys asks for revocations, with the flags and variables of
// the revoke commands; but without either no server is asked.
type keyServer struct{ connection }

func addKeyServer(cmd *cobra.Command) *keyServer {
	s := &keyServer{}
	s.add(cmd.Flags())
	cmd.Flags().Lookup("server").Usage = "URL of a running Assay, which holds the revocations (default: $ASSAY_SERVER, else none is asked)"
	return s
}

// address is the server's, empty where none was named.
func (s *keyServer) address(e env) string { return cmp.Or(s.server, e.getenv("ASSAY_SERVER")) }

// dial gives the client; nil where no server was named.
func (s *keyServer) dial(e env) (*client.Client, error) {
	if s.address(e) == "" {
		return nil, nil
	}
	return s.connect(e)
}

// compromised lists the revoked keys of the configured issuers; nil where no server was named.
func (s *keyServer) compromised(ctx context.Context, e env, c *config.Config) ([]compromisedRow, error) {
	server, err := s.dial(e)
	if server == nil || err != nil {
		return nil, err
	}
	rows := []compromisedRow{}
	err = server.Each(ctx, client.Query{Kind: "key"}, func(r client.Revocation) error {
		if slices.ContainsFunc(c.Issuers, func(i config.Issuer) bool { return i.Issuer == r.Issuer }) {
			rows = append(rows, compromisedRow{Issuer: r.Issuer, KeyID: r.Value, Reason: r.Reason, Ticket: r.Ticket, Revoked: time.Unix(r.CreatedAt, 0).UTC()})
		}
		return nil
	})
	return rows, err
}

// nobody stands for a server that was not named: nothing is revoked.
type nobody struct{}

var errNoServer = errors.New("no server was named: give --server or ASSAY_SERVER")

// Revoke implements custodian.Revoker.
func (nobody) Revoke(context.Context, string, string, string, string) error { return errNoServer }
