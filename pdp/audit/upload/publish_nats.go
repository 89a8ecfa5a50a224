package upload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// CheckpointsConfig wires Checkpoints.
type CheckpointsConfig struct {
	NATS NATSConfig
	// Subject of the messages; required. A JetStream stream must store it, one that is not this log's operator's to alter.
	Subject string
	// Log is the origin of the log, in each message's header.
	Log    string
	Logger *slog.Logger // default: nowhere
}

// Checkpoints publishes a log's checkpoints to NATS. A checkpoint counts as published when a stream has acknowledged
// it: what only passes by proves nothing later. It implements ledger.Publisher.
type Checkpoints struct {
	c    CheckpointsConfig
	conn *nats.Conn
	js   jetstream.JetStream
}

// NewCheckpoints begins to connect. The server need not be up. Close must be called.
func NewCheckpoints(c CheckpointsConfig) (*Checkpoints, error) {
	if c.Subject == "" {
		return nil, errors.New("publishing checkpoints: the subject is required")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	conn, err := c.NATS.connect(c.Logger)
	if err != nil {
		return nil, fmt.Errorf("publishing checkpoints: connecting to NATS: %w", err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("publishing checkpoints: %w", err)
	}
	return &Checkpoints{c: c, conn: conn, js: js}, nil
}

// Publish sends a signed checkpoint and waits until a stream has it. The same one again is stored once, within the
// stream's duplicate window.
func (p *Checkpoints) Publish(ctx context.Context, checkpoint []byte) error {
	sum := sha256.Sum256(checkpoint)
	m := nats.NewMsg(p.c.Subject)
	m.Data = checkpoint
	m.Header.Set(LogHeader, p.c.Log)
	_, err := p.js.PublishMsg(ctx, m, jetstream.WithMsgID(hex.EncodeToString(sum[:])), jetstream.WithRetryAttempts(0))
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("no stream stores the subject %s: have one made by who keeps the checkpoints: %w", p.c.Subject, err)
	}
	return err
}

// Close ends the connection.
func (p *Checkpoints) Close() { p.conn.Close() }
