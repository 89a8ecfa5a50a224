package revocation

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// patience is how long one call tries to have its message stored; a cluster elects a leader in that time.
	patience = 10 * time.Second
	// ttlMargin is how much longer a message stays than what it says is in force, for clocks that differ.
	ttlMargin = time.Minute
)

// Publish revokes. When it returns without an error, the entry is stored as durably as the stream stores, and in
// force for every decision of this process that starts from now on. Publishing again what is in force already
// changes nothing; what is given together with it is joined, so that neither end nor issued_before goes back.
//
// Errors wrap ErrInvalid, ErrUnavailable (with ErrFull where that is why) or ErrNotYetEffective. After
// ErrUnavailable the entry may yet have been stored: publishing it again is right in any case.
func (s *Stream) Publish(ctx context.Context, e Entry) (p Published, err error) {
	began := s.c.Elapsed()
	defer func() { s.c.Observer.RevocationPublished(s.c.Elapsed()-began, err) }()
	now := s.c.Now()
	if e.CreatedAt.IsZero() {
		e.CreatedAt = now
	}
	if err := e.Check(now); err != nil {
		return Published{}, err
	}
	e.Ends, e.IssuedBefore = second(ceilSecond(e.Ends)), second(ceilSecond(e.IssuedBefore))
	known, found := s.index.holds(&e)
	if found {
		given := datesOf(e.Ends.Unix(), ceilSecond(e.IssuedBefore))
		had := datesOf(known.ends, known.before)
		joined := join(had, given)
		e.Ends, e.IssuedBefore = second(int64(joined>>32)), second(int64(joined&maxSeconds)) //nolint:gosec // 32 bits each
		if joined == had {
			if event, err := s.at(ctx, known.sequence); err == nil {
				e = s.overlay(event).Entry
			}
			return Published{Entry: e, Sequence: known.sequence}, nil
		}
	}
	sequence, err := s.append(ctx, &e, false, e.Ends.Sub(now)+ttlMargin)
	return Published{Entry: e, Created: !found, Sequence: sequence}, err
}

// Removal says who takes an entry back, and why.
type Removal struct{ Actor, Reason, Ticket string }

// Remove takes an entry back, by its key, and answers what it was. It returns as Publish does. ErrNotFound where none is
// in force.
func (s *Stream) Remove(ctx context.Context, key string, by Removal) (e Entry, err error) {
	began := s.c.Elapsed()
	defer func() { s.c.Observer.RevocationPublished(s.c.Elapsed()-began, err) }()
	event, err := s.Get(ctx, key)
	if err != nil {
		return Entry{}, err
	}
	now := s.c.Now()
	gone := event.Entry
	gone.Actor, gone.Reason, gone.Ticket, gone.CreatedAt = by.Actor, by.Reason, by.Ticket, now
	if err := gone.Check(now); err != nil {
		return Entry{}, err
	}
	// It stays until every message that it takes back has left the stream.
	_, err = s.append(ctx, &gone, true, gone.Ends.Sub(now)+2*ttlMargin)
	return event.Entry, err
}

// append stores one message and waits until it was read back.
func (s *Stream) append(ctx context.Context, e *Entry, removed bool, ttl time.Duration) (uint64, error) {
	data, err := encode(e, removed)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	id := rand.Text() // the server keeps one of several attempts
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ttl = (ttl + time.Second - 1).Truncate(time.Second)
	for {
		ack, err := s.attempt(patient, data, id, ttl)
		if err == nil {
			if err := s.waitApplied(ctx, ack.Sequence); err != nil {
				return ack.Sequence, fmt.Errorf("%w: %w", ErrNotYetEffective, err)
			}
			return ack.Sequence, nil
		}
		err = explain(err)
		if errors.Is(err, ErrFull) || !pause(patient, retryAfter) {
			return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

func (s *Stream) attempt(ctx context.Context, data []byte, id string, ttl time.Duration) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	return s.jetStream().PublishMsg(ctx, &nats.Msg{Subject: s.entrySubject(), Data: data},
		jetstream.WithMsgID(id), jetstream.WithMsgTTL(ttl), jetstream.WithExpectStream(s.c.Stream), jetstream.WithRetryAttempts(0))
}

// Get gives the entry in force with that key.
func (s *Stream) Get(ctx context.Context, key string) (Event, error) {
	sum, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil || len(sum) != 32 {
		return Event{}, ErrNotFound
	}
	for _, sequence := range s.index.tagged(binary.BigEndian.Uint32(sum[:4]) >> 8) {
		event, err := s.at(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // it left the stream a moment ago, or is another's
		}
		if err != nil {
			return Event{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if held, ok := s.index.holds(&event.Entry); ok && held.sequence == sequence && event.Entry.Key() == key {
			return s.overlay(event), nil
		}
	}
	return Event{}, ErrNotFound
}

// at reads one message.
func (s *Stream) at(ctx context.Context, sequence uint64) (Event, error) {
	stream, err := s.open(ctx)
	if err != nil {
		return Event{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	raw, err := stream.GetMsg(ctx, sequence)
	if err != nil {
		return Event{}, err
	}
	return decode(raw.Data, sequence, raw.Time)
}

// overlay puts the dates in force over those that the message says: an earlier one for the same may say more.
func (s *Stream) overlay(e Event) Event {
	if held, ok := s.index.holds(&e.Entry); ok {
		e.Entry.Ends, e.Entry.IssuedBefore = second(held.ends), second(held.before)
	}
	return e
}
