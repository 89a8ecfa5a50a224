package upload

import (
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// NATSConfig says where a NATS server or cluster is, and who asks.
type NATSConfig struct {
	// URL is nats:// or tls://host:port, several with commas between them.
	URL string
	// CredentialsFile is a NATS .creds file (JWT and seed).
	CredentialsFile string
	// CAFile is a PEM file of authorities for the server's certificate; CertFile and KeyFile are this client's own.
	CAFile, CertFile, KeyFile string
}

// connect connects to a server that need not be up yet. What is published while there is no connection fails at once:
// nothing waits in the client's memory, the log on disk is the buffer.
func (c *NATSConfig) connect(log *slog.Logger) (*nats.Conn, error) {
	if c.URL == "" {
		return nil, errors.New("upload: the URL of a NATS server is required")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errors.New("upload: a client certificate and its key go together")
	}
	options := []nats.Option{
		nats.Name("assay audit"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 200*time.Millisecond),
		nats.Timeout(2 * time.Second), nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("audit upload: NATS connection", "error", text(err))
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Warn("audit upload: disconnected from NATS", "error", text(err))
		}),
		nats.ReconnectHandler(func(n *nats.Conn) {
			log.Info("audit upload: connected to NATS again", "server", n.ConnectedUrlRedacted())
		}),
	}
	if c.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(c.CredentialsFile))
	}
	if c.CAFile != "" {
		options = append(options, nats.RootCAs(c.CAFile))
	}
	if c.CertFile != "" {
		options = append(options, nats.ClientCert(c.CertFile, c.KeyFile))
	}
	return nats.Connect(c.URL, options...)
}

func text(err error) string {
	if err == nil {
		return "" // a connection that was closed by this side
	}
	return err.Error()
}
