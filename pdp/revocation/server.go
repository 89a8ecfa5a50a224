package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// embedded is the JetStream server inside this process. It listens nowhere.
type embedded struct {
	server *server.Server
	lock   *os.File
}

// startTimeout is how long a server may take until it accepts connections; it reads its store first.
const startTimeout = 2 * time.Minute

// startEmbedded takes the folder for this process and starts the server on it.
func startEmbedded(dir string, log *slog.Logger) (*embedded, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("revocation: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("revocation: %s: %w: %w; give each its own folder, or an external server's URL", dir, ErrInUse, err)
	}
	e := &embedded{lock: lock}
	if err := e.start(dir, log); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return e, nil
}

func (e *embedded) start(dir string, log *slog.Logger) error {
	s, err := server.NewServer(&server.Options{
		ServerName: "assay", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: dir,
		SyncAlways: true, // an acknowledged message is on the disk
	})
	if err != nil {
		return fmt.Errorf("revocation: JetStream server: %w", err)
	}
	s.SetLoggerV2(serverLog{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return fmt.Errorf("revocation: the JetStream server on %s did not start; its log says why: is the disk full or not writable?", dir)
	}
	e.server = s
	return nil
}

// restart stops the server, as far as it still runs, and starts it again on the same folder.
func (e *embedded) restart(dir string, log *slog.Logger) error {
	e.stop()
	return e.start(dir, log)
}

func (e *embedded) stop() {
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
		e.server = nil
	}
}

func (e *embedded) close() error {
	e.stop()
	return e.lock.Close()
}

// connect connects to the server inside this process, or to the one at the URL, which need not be up yet.
func connect(c *Config, e *embedded) (*nats.Conn, error) {
	options := []nats.Option{nats.Name("assay"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		c.Log.Warn("revocation stream: connection", "error", text(err))
	})}
	if e != nil {
		return nats.Connect("", append(options, nats.InProcessServer(e.server), nats.NoReconnect())...)
	}
	options = append(options,
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 200*time.Millisecond), nats.Timeout(2*time.Second),
		// A partition is noticed by pings that are not answered.
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2),
		// What is not sent now is not sent later behind the caller's back.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.Log.Warn("revocation stream: disconnected", "error", text(err))
		}),
		nats.ReconnectHandler(func(n *nats.Conn) {
			c.Log.Info("revocation stream: connected again", "server", n.ConnectedUrlRedacted())
		}),
	)
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
		return ""
	}
	return err.Error()
}

// serverLog passes on what the embedded server warns of.
type serverLog struct{ log *slog.Logger }

func (l serverLog) say(level slog.Level, format string, args []any) {
	l.log.Log(context.Background(), level, "jetstream server", "says", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l serverLog) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l serverLog) Warnf(format string, args ...any)   { l.say(slog.LevelWarn, format, args) }
func (l serverLog) Fatalf(format string, args ...any)  { l.say(slog.LevelError, format, args) }
func (l serverLog) Errorf(format string, args ...any)  { l.say(slog.LevelError, format, args) }
func (l serverLog) Debugf(string, ...any)              {}
func (l serverLog) Tracef(string, ...any)              {}
