package revocation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Stream is one replica's end of the revocation stream, and the index that it feeds. It is safe for
// concurrent use. Start it, Run it, and Close it after Run returned.
type Stream struct {
	c       Config
	index   *Index
	process string // names this process's heartbeats

	// mu guards the connection, which a restart of the embedded server replaces.
	mu       sync.Mutex
	embedded *embedded // nil with an external server
	conn     *nats.Conn
	js       jetstream.JetStream

	applied  atomic.Uint64 // the sequence that was last applied; the reading goroutine's to write
	loaded   atomic.Uint64
	pending  atomic.Uint64
	stored   atomic.Int64 // when the newest message read was stored, in Unix seconds on the servers' clock
	created  time.Time    // of the stream being read; the reading goroutine's
	complete chan struct{}
	once     sync.Once // closes complete

	wait    sync.Mutex // guards waiters
	waiters map[chan struct{}]uint64
	waiting atomic.Int64

	beats   sync.Mutex // guards number and sent
	number  uint64
	sent    map[uint64]time.Duration
	trouble troubles
}

// New makes the index and checks the configuration. It touches no disk and no network.
func New(c Config) (*Stream, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	index, err := NewIndex(IndexConfig{Now: c.Now, Elapsed: c.Elapsed, MaxAge: c.MaxAge})
	if err != nil {
		return nil, err
	}
	return &Stream{
		c: c, index: index, process: rand.Text(), complete: make(chan struct{}),
		waiters: make(map[chan struct{}]uint64), sent: make(map[uint64]time.Duration),
	}, nil
}

// Start starts the embedded server, or begins to connect to the external one, which need not be up. It does
// not wait for the index: Run fills it, WaitComplete and Health tell when it is. Call it once.
func (s *Stream) Start() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c.Dir != "" {
		if s.embedded, err = startEmbedded(s.c.Dir, s.c.Log); err != nil {
			return err
		}
	}
	if err := s.connect(); err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

// connect makes the connection. The caller holds mu.
func (s *Stream) connect() (err error) {
	if s.conn, err = connect(&s.c, s.embedded); err != nil {
		return fmt.Errorf("revocation: connecting to NATS: %w", err)
	}
	s.js, err = jetstream.New(s.conn)
	return err
}

// Close disconnects and stops the embedded server.
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.close()
}

func (s *Stream) close() error {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.embedded != nil {
		return s.embedded.close()
	}
	return nil
}

// Index is what decisions ask. It is complete once WaitComplete returns.
func (s *Stream) Index() *Index { return s.index }

// Run reads the stream, proves freshness and looks after the embedded server, until ctx ends.
func (s *Stream) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.readOn(ctx) })
	group.Go(func() error { return s.beatOn(ctx) })
	group.Go(func() error { return s.sweepOn(ctx) })
	return group.Wait()
}

// WaitComplete waits until the whole stream was read once.
func (s *Stream) WaitComplete(ctx context.Context) error {
	select {
	case <-s.complete:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Health tells how well revocations are known here.
func (s *Stream) Health() Health {
	h := Health{Loaded: s.loaded.Load(), Pending: s.pending.Load(), Entries: s.index.Len(), Bytes: s.index.Bytes(), Age: -1}
	select {
	case <-s.complete:
		h.Complete = true
	default:
	}
	if age, ok := s.index.age(); ok {
		h.Age, h.Fresh = age, age <= s.c.MaxAge
	}
	s.mu.Lock()
	h.Connected = s.conn != nil && s.conn.IsConnected()
	s.mu.Unlock()
	h.Error = s.trouble.text()
	return h
}

// jetStream gives the connection of now.
func (s *Stream) jetStream() jetstream.JetStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.js
}

func (s *Stream) entrySubject() string { return s.c.Stream + ".entry" }
func (s *Stream) beatSubject() string  { return s.c.Stream + ".beat" }

// callTimeout bounds one call to the server.
const callTimeout = 5 * time.Second

// open finds the stream or makes it.
func (s *Stream) open(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	js := s.jetStream()
	stream, err := js.Stream(ctx, s.c.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if stream, err = js.CreateStream(ctx, s.wanted()); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = js.Stream(ctx, s.c.Stream) // another replica was quicker
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s cannot be opened: %w", s.c.Stream, err)
	}
	return stream, s.suits(stream.CachedInfo().Config)
}

// wanted is the stream's configuration. What it holds may only ever end by its own time to live: nothing
// makes room for what is new, and nobody deletes or purges.
func (s *Stream) wanted() jetstream.StreamConfig {
	limit := s.c.StoreLimit
	if limit == 0 {
		limit = -1
	}
	return jetstream.StreamConfig{
		Name: s.c.Stream, Description: "Assay: what is revoked", Subjects: []string{s.entrySubject(), s.beatSubject()},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxBytes: limit, MaxMsgs: -1, MaxMsgsPerSubject: -1, Replicas: s.c.Replicas,
		AllowMsgTTL: true, DenyDelete: true, DenyPurge: true, Duplicates: 2 * time.Minute,
	}
}

// suits refuses a stream that could lose revocations.
func (s *Stream) suits(c jetstream.StreamConfig) error {
	bad := func(what string) error {
		return fmt.Errorf("stream %s exists and does not suit: %s; name another under revocation.jetstream.stream, or correct it", s.c.Stream, what)
	}
	switch {
	case !slices.Contains(c.Subjects, s.entrySubject()) || !slices.Contains(c.Subjects, s.beatSubject()):
		return bad(fmt.Sprintf("it has other subjects than %s and %s", s.entrySubject(), s.beatSubject()))
	case !c.AllowMsgTTL:
		return bad("it allows no time to live per message (allow_msg_ttl)")
	case c.Storage != jetstream.FileStorage:
		return bad("it is kept in memory")
	case c.Retention != jetstream.LimitsPolicy || c.Discard != jetstream.DiscardNew || c.MaxAge != 0 || c.MaxMsgsPerSubject > 0:
		return bad("messages leave it before their own time to live (retention, discard, max_age or max_msgs_per_subject)")
	}
	return nil
}

// troubles holds what is amiss, one text for each part of the work.
type troubles struct {
	mu                     sync.Mutex
	reading, beating, gone string
	unread                 uint64
	unreadCause            string
}

func (t *troubles) set(part *string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*part = text(err)
}

func (t *troubles) skipped(sequence uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unread++
	t.unreadCause = fmt.Sprintf("message %d of the stream cannot be read: %v", sequence, err)
}

func (t *troubles) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.beating != "":
		return t.beating
	case t.reading != "":
		return t.reading
	case t.gone != "":
		return t.gone
	case t.unread > 0:
		return fmt.Sprintf("%d messages were left out; %s", t.unread, t.unreadCause)
	}
	return ""
}
