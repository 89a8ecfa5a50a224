package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// beatTimeout is how long a heartbeat's acknowledgement is waited for.
	beatTimeout = 2 * time.Second
	// restartAfter is how long an embedded server may take no heartbeat until it is started again.
	restartAfter = 5 * time.Second
	// sweepEvery is how often what has ended is dropped from the index.
	sweepEvery = time.Minute
	// sweepMargin is how long ago that must be on every clock that takes part.
	sweepMargin = 10 * time.Minute
)

// beatOn sends heartbeats, and starts an embedded server again that takes none: a write error, as after a
// full disk, sticks to a JetStream stream until its server is started again, and there may be other reasons.
func (s *Stream) beatOn(ctx context.Context) error {
	wait := time.NewTicker(s.c.Heartbeat)
	defer wait.Stop()
	accepted := s.c.Elapsed()
	for {
		err := s.beat(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if now := s.c.Elapsed(); err == nil {
			accepted = now
			s.trouble.set(&s.trouble.beating, nil)
		} else {
			s.trouble.set(&s.trouble.beating, fmt.Errorf("heartbeats cannot be stored: %w", explain(err)))
			if s.embedded != nil && now-accepted >= restartAfter {
				s.restart()
				accepted = s.c.Elapsed()
			}
		}
		select {
		case <-wait.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// beat sends one heartbeat and waits until it is stored. When it comes back is up to the reading goroutine.
func (s *Stream) beat(ctx context.Context) error {
	s.beats.Lock()
	s.number++
	number := s.number
	s.sent[number] = s.c.Elapsed() // before it is sent: what was acknowledged until now lies before it
	delete(s.sent, number-1024)
	s.beats.Unlock()
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	// It has to be there until the slowest replica has read the stream up to it, and no longer.
	ttl := max(2*s.c.MaxAge, 10*time.Second).Round(time.Second)
	_, err := s.jetStream().PublishMsg(ctx, &nats.Msg{Subject: s.beatSubject(), Data: encodeBeat(s.process, number)},
		jetstream.WithExpectStream(s.c.Stream), jetstream.WithMsgTTL(ttl))
	return err
}

// cameBack tells that an own heartbeat was read back.
func (s *Stream) cameBack(number uint64) {
	s.beats.Lock()
	sent, known := s.sent[number]
	delete(s.sent, number)
	s.beats.Unlock()
	if !known {
		return
	}
	s.index.beat(sent)
	s.once.Do(func() { close(s.complete) })
	s.trouble.set(&s.trouble.reading, nil)
}

// restart starts the embedded server again.
func (s *Stream) restart() {
	s.c.Log.Warn("revocation stream: the embedded server takes no heartbeats and is started again")
	s.c.Observer.StreamReopened("restart")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.Close()
	err := s.embedded.restart(s.c.Dir, s.c.Log)
	if err == nil {
		err = s.connect()
	}
	if err != nil {
		s.c.Log.Error("revocation stream: the embedded server did not start; it is tried again", "error", err)
	}
}

// explain says in an operator's words what a refusal of the server means.
func explain(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == storeFailed, errors.As(err, &api) && api.ErrorCode == noResources:
		return fmt.Errorf("%w: %w (raise revocation.jetstream.store_limit or the server's limits, or free its disk)", ErrFull, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("the server does not answer (is its disk full, or has the cluster no leader?): %w", err)
	}
	return err
}

// JetStream's codes for a stream that is at its limit and for a server that is.
const (
	storeFailed jetstream.ErrorCode = 10077
	noResources jetstream.ErrorCode = 10023
)

// sweepOn drops from the index what has ended. A wall clock that stands wrong for a while must not make it forget:
// an entry goes only when it ended long ago on this machine's clock and on that of the stream's servers, by
// the message that was last read.
func (s *Stream) sweepOn(ctx context.Context) error {
	for pause(ctx, sweepEvery) {
		s.sweep()
	}
	return ctx.Err()
}

func (s *Stream) sweep() int {
	now := min(s.c.Now().Unix(), s.stored.Load())
	return s.index.sweep(now - int64(sweepMargin/time.Second))
}
