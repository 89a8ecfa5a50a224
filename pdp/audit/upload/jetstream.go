package upload

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Defaults of JetStreamConfig.
const (
	DefaultStream          = "ASSAY_AUDIT"
	DefaultDuplicateWindow = 2 * time.Minute
	DefaultAckTimeout      = 5 * time.Second

	// maxPending is how many messages are on their way at once.
	maxPending = 256
)

// Names of the header fields of a message, beside Nats-Msg-Id.
const (
	LogHeader      = "Assay-Log"       // the log's origin
	IndexHeader    = "Assay-Index"     // the record's place in it, decimal
	LeafHashHeader = "Assay-Leaf-Hash" // the record's leaf hash (RFC 6962 section 2.1), hex
)

// JetStreamConfig says which stream takes the records.
type JetStreamConfig struct {
	NATS NATSConfig
	// Log is the origin of the log that is delivered; it stands in every message. Required.
	Log string
	// Stream is the stream's name, default DefaultStream; the subject of the messages is Stream + ".event".
	Stream string
	// Replicas, MaxBytes, MaxAge and DuplicateWindow are those of the stream where it has to be made; a stream that is
	// there stays as it is. By default 1, no limit, no limit, and DefaultDuplicateWindow.
	Replicas        int
	MaxBytes        int64
	MaxAge          time.Duration
	DuplicateWindow time.Duration
	// AckTimeout is how long an acknowledgement is waited for; default DefaultAckTimeout.
	AckTimeout time.Duration
	// Logger hears of connections; default nobody.
	Logger *slog.Logger
}

// JetStream delivers to a stream: one message a record, acknowledged one by one, named by log, index and leaf hash, so
// that the stream drops a message that it has already. The leaf hash is part of the name since a name that was used
// must never swallow another record. Where one message fails, later ones of the same batch may be stored before it is
// sent again: who needs the order takes it from the index in the header.
//
// A full stream that was made here refuses what is new rather than drop what is old: the log then waits.
type JetStream struct {
	c    JetStreamConfig
	conn *nats.Conn
	js   jetstream.JetStream
	open bool // the stream was seen since the last trouble
}

var streamForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckStream refuses a name that a stream cannot have.
func CheckStream(name string) error {
	if !streamForm.MatchString(name) {
		return fmt.Errorf("stream %q: letters, digits, - and _, at most 64", name)
	}
	return nil
}

// NewJetStream checks the configuration and begins to connect. The server need not be up.
func NewJetStream(c JetStreamConfig) (*JetStream, error) {
	c.Stream, c.Replicas = cmp.Or(c.Stream, DefaultStream), cmp.Or(c.Replicas, 1)
	c.DuplicateWindow, c.AckTimeout = cmp.Or(c.DuplicateWindow, DefaultDuplicateWindow), cmp.Or(c.AckTimeout, DefaultAckTimeout)
	if err := CheckStream(c.Stream); err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	switch {
	case c.Log == "":
		return nil, errors.New("upload: the log's origin is required")
	case c.Replicas < 1 || c.Replicas > 5 || c.MaxBytes < 0 || c.MaxAge < 0 || c.AckTimeout < 0:
		return nil, errors.New("upload: replicas must be from 1 to 5, limits and times not negative")
	case c.DuplicateWindow < 0 || c.MaxAge > 0 && c.DuplicateWindow > c.MaxAge:
		return nil, fmt.Errorf("upload: the duplicate window %s must not be longer than what the stream keeps, %s", c.DuplicateWindow, c.MaxAge)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	conn, err := c.NATS.connect(c.Logger)
	if err != nil {
		return nil, fmt.Errorf("upload: connecting to NATS: %w", err)
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(c.AckTimeout))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("upload: %w", err)
	}
	return &JetStream{c: c, conn: conn, js: js}, nil
}

// Close implements Destination.
func (j *JetStream) Close() error {
	j.conn.Close()
	return nil
}

func (j *JetStream) subject() string { return j.c.Stream + ".event" }

// ensure finds the stream or makes it.
func (j *JetStream) ensure(ctx context.Context) error {
	if j.open {
		return nil
	}
	if !j.conn.IsConnected() {
		if err := j.conn.LastError(); err != nil {
			return fmt.Errorf("upload: no connection to NATS: %w", err)
		}
		return errors.New("upload: no connection to NATS")
	}
	ctx, cancel := context.WithTimeout(ctx, j.c.AckTimeout)
	defer cancel()
	stream, err := j.js.Stream(ctx, j.c.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if stream, err = j.js.CreateStream(ctx, j.wanted()); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = j.js.Stream(ctx, j.c.Stream) // another replica was quicker
		}
	}
	if err != nil {
		return fmt.Errorf("upload: stream %s cannot be opened: %w", j.c.Stream, err)
	}
	if !slices.Contains(stream.CachedInfo().Config.Subjects, j.subject()) {
		return fmt.Errorf("upload: stream %s exists and does not take the subject %s; add it, or name another stream", j.c.Stream, j.subject())
	}
	j.open = true
	return nil
}

func (j *JetStream) wanted() jetstream.StreamConfig {
	limit := j.c.MaxBytes
	if limit == 0 {
		limit = -1
	}
	return jetstream.StreamConfig{
		Name: j.c.Stream, Description: "Assay: audit records", Subjects: []string{j.subject()},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxBytes: limit, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxAge: j.c.MaxAge, Replicas: j.c.Replicas, Duplicates: j.c.DuplicateWindow,
	}
}

// Deliver implements Destination.
func (j *JetStream) Deliver(ctx context.Context, records []Record) (acknowledged int, err error) {
	for acknowledged < len(records) {
		if err := j.ensure(ctx); err != nil {
			return acknowledged, err
		}
		n, err := j.publish(ctx, records[acknowledged:min(len(records), acknowledged+maxPending)])
		acknowledged += n
		if err != nil {
			j.open = false // it may be gone; looking again costs one question
			return acknowledged, err
		}
	}
	return acknowledged, nil
}

// publish sends a window of records and waits for all their acknowledgements. It says how many came, up to the first
// that did not.
func (j *JetStream) publish(ctx context.Context, window []Record) (acknowledged int, err error) {
	futures := make([]jetstream.PubAckFuture, 0, len(window))
	var sending error
	for i := range window {
		future, err := j.js.PublishMsgAsync(j.message(&window[i]), jetstream.WithExpectStream(j.c.Stream), jetstream.WithRetryAttempts(0))
		if err != nil {
			sending = judged(&window[i], err)
			break
		}
		futures = append(futures, future)
	}
	var failure error
	for i, future := range futures { // all of them, so that none is on its way any more when they are sent again
		select {
		case <-future.Ok():
			if failure == nil {
				acknowledged++
			}
		case err := <-future.Err():
			failure = cmp.Or(failure, judged(&window[i], err))
		case <-ctx.Done():
			return acknowledged, context.Cause(ctx)
		}
	}
	if failure != nil {
		return acknowledged, failure
	}
	return acknowledged, sending
}

func (j *JetStream) message(r *Record) *nats.Msg {
	hash, index := hex.EncodeToString(r.Hash[:]), strconv.FormatInt(r.Index, 10)
	m := nats.NewMsg(j.subject())
	m.Data = r.Event
	m.Header.Set(nats.MsgIdHdr, j.c.Log+"/"+index+"/"+hash[:16])
	m.Header.Set(LogHeader, j.c.Log)
	m.Header.Set(IndexHeader, index)
	m.Header.Set(LeafHashHeader, hash)
	return m
}

// exceedsMessageSize is JetStream's error code for a message that is larger than the stream takes.
const exceedsMessageSize = 10054

func judged(r *Record, err error) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if errors.Is(err, nats.ErrMaxPayload) || ok && api.ErrorCode == exceedsMessageSize {
		return &TooLarge{Bytes: len(r.Event), Err: err}
	}
	return fmt.Errorf("upload: record %d was not acknowledged: %w", r.Index, err)
}
