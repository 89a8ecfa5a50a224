package revocation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// retryAfter is the pause between two attempts at whatever failed.
const retryAfter = 200 * time.Millisecond

// pulled is how many messages are asked for at once.
const pulled = 8192

// readOn keeps the index fed: it reads on from where it was, however often reading fails.
func (s *Stream) readOn(ctx context.Context) error {
	for {
		err := s.read(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.trouble.set(&s.trouble.reading, err)
		s.c.Log.Warn("revocation stream: reading begins anew", "after", s.applied.Load(), "error", text(err))
		s.c.Observer.StreamReopened("read")
		if !pause(ctx, retryAfter) {
			return ctx.Err()
		}
	}
}

// read opens the stream and applies what it holds from the last applied message on, until it fails.
func (s *Stream) read(ctx context.Context) error {
	stream, err := s.open(ctx)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if last := s.applied.Load(); last > 0 && (!info.Created.Equal(s.created) || info.State.LastSeq < last) {
		// It was restored or lost its end. What the index knows stays; all that the stream holds is read again.
		s.trouble.set(&s.trouble.gone, fmt.Errorf("stream %s was replaced or went back from message %d to %d: revocations may be missing from it; replicas that started before still know them",
			s.c.Stream, last, info.State.LastSeq))
		s.applied.Store(0)
	}
	s.created = info.Created
	return follow(ctx, stream, s.applied.Load()+1, "", func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		s.apply(msg, meta)
		return nil
	})
}

// apply applies one message of the stream. Only the reading goroutine calls it.
func (s *Stream) apply(msg jetstream.Msg, meta *jetstream.MsgMetadata) {
	sequence := meta.Sequence.Stream
	if strings.HasSuffix(msg.Subject(), ".beat") {
		if number, own := decodeBeat(msg.Data(), s.process); own {
			s.cameBack(number)
		}
	} else if e, err := decode(msg.Data(), sequence, meta.Timestamp); err != nil {
		s.trouble.skipped(sequence, err)
		s.c.Log.Error("revocation stream: a message was left out", "sequence", sequence, "error", err)
	} else {
		s.index.Apply(&e)
		if s.isComplete() {
			s.c.Observer.RevocationApplied(s.c.Now().Sub(meta.Timestamp))
		}
	}
	s.loaded.Add(1)
	s.pending.Store(meta.NumPending)
	s.stored.Store(meta.Timestamp.Unix())
	s.applied.Store(sequence)
	if s.waiting.Load() > 0 {
		s.release(sequence)
	}
}

func (s *Stream) isComplete() bool {
	select {
	case <-s.complete:
		return true
	default:
		return false
	}
}

// waitApplied waits until the message with that sequence was applied here.
func (s *Stream) waitApplied(ctx context.Context, sequence uint64) error {
	done := make(chan struct{})
	s.wait.Lock()
	s.waiters[done] = sequence
	s.wait.Unlock()
	s.waiting.Add(1)
	defer func() {
		s.waiting.Add(-1)
		s.wait.Lock()
		delete(s.waiters, done)
		s.wait.Unlock()
	}()
	if s.applied.Load() >= sequence { // it was applied before anybody knew that somebody waits
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Stream) release(sequence uint64) {
	s.wait.Lock()
	defer s.wait.Unlock()
	for done, wanted := range s.waiters {
		if wanted <= sequence {
			close(done)
			delete(s.waiters, done)
		}
	}
}

// follow hands over the messages of the stream in order from a sequence on, and ends with an error or with ctx. The
// consumer's own numbering shows whether one was lost on the way; then reading has to begin anew.
func follow(ctx context.Context, stream jetstream.Stream, from uint64, subject string, handle func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	consumer, err := newConsumer(ctx, stream, from, subject)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(pulled), jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for expected := uint64(1); ; expected++ {
		msg, err := messages.Next()
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != expected {
			return errors.New("messages were lost on the way")
		}
		if err := handle(msg, meta); err != nil {
			return err
		}
	}
}

// newConsumer makes a consumer of this process alone, which the server forgets when nobody reads it.
func newConsumer(ctx context.Context, stream jetstream.Stream, from uint64, subject string) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c := jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1), FilterSubject: subject,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: 30 * time.Second,
	}
	return stream.CreateConsumer(ctx, c)
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
