package issuer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// lane is the queue before one key, and the calls under way for it. Each call is made by a goroutine that
// takes whatever has queued meanwhile for its next call, and ends when there is nothing.
type lane struct {
	c    *Config
	name string

	mu    sync.Mutex
	queue []*waiter // guarded by mu
	calls int       // guarded by mu: goroutines that make calls
}

// waiter is one token that waits for its signature.
type waiter struct {
	ctx   context.Context // of the request: a waiter that went away is not signed for
	draft *draft
	done  chan outcome // has room for the one outcome, so that nobody waits for a waiter
}

type outcome struct {
	signature []byte
	err       error
}

// sign answers the draft's signature, not yet verified. When ctx ends it answers at once; the call goes on for
// those it is made with.
func (l *lane) sign(ctx context.Context, d *draft) ([]byte, error) {
	w := &waiter{ctx: ctx, draft: d, done: make(chan outcome, 1)}
	if err := l.enqueue(w); err != nil {
		return nil, err
	}
	select {
	case o := <-w.done:
		return o.signature, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *lane) enqueue(w *waiter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= l.c.MaxQueue {
		return &UnavailableError{RetryAfter: time.Second, Err: fmt.Errorf("%d tokens wait for the key %s already", len(l.queue), l.name)}
	}
	l.queue = append(l.queue, w)
	if l.calls < l.maxCalls(w) || l.c.MaxBatch == 1 {
		l.calls++
		go l.work()
	}
	return nil
}

// maxCalls is how many calls may be under way for the key that is to sign for w.
func (l *lane) maxCalls(w *waiter) int {
	switch {
	case l.c.MaxCalls > 0:
		return l.c.MaxCalls
	case w.draft.key.Key.Type() == "RSA":
		return DefaultMaxCallsRSA
	}
	return DefaultMaxCalls
}

// work makes calls until nothing waits.
func (l *lane) work() {
	for {
		l.mu.Lock()
		n := min(len(l.queue), l.c.MaxBatch)
		if n == 0 {
			l.calls--
			l.mu.Unlock()
			return
		}
		batch := append([]*waiter(nil), l.queue[:n]...)
		l.queue = append(l.queue[:0], l.queue[n:]...)
		clear(l.queue[len(l.queue):cap(l.queue)])
		l.mu.Unlock()
		l.call(batch)
	}
}

// call has a batch signed and gives every waiter its outcome.
func (l *lane) call(batch []*waiter) {
	key, err := l.c.Keys.Signer(l.name)
	if err != nil {
		tell(batch, keyError(err))
		return
	}
	batch = keep(batch, key)
	if len(batch) == 0 {
		return
	}
	inputs := make([][]byte, len(batch))
	for i, w := range batch {
		inputs[i] = w.draft.input
	}
	// Not the context of any waiter: one that goes away must not take the others along.
	ctx, cancel := context.WithTimeout(context.Background(), l.c.SignTimeout)
	defer cancel()
	began := time.Now()
	signatures, err := l.c.Signer.Sign(ctx, l.name, key.Version, key.Key.Algorithm, inputs)
	l.c.OnSign(SignEvent{Key: l.name, Algorithm: key.Key.Algorithm, Version: key.Version, Items: len(batch), Took: time.Since(began), Err: err})
	if err == nil && len(signatures) != len(inputs) {
		signatures, err = nil, fmt.Errorf("issuer: %d inputs gave %d signatures", len(inputs), len(signatures))
	}
	var failed []*waiter
	for i, w := range batch {
		if i < len(signatures) && len(signatures[i]) > 0 {
			w.done <- outcome{signature: signatures[i]}
		} else {
			failed = append(failed, w)
		}
	}
	if len(failed) > 0 {
		tell(failed, l.why(ctx, err, key))
	}
}

// keep gives the waiters that are still there and whose header names the key that signs now, and tells the
// others.
func keep(batch []*waiter, key vaultkeys.SigningKey) []*waiter {
	kept := batch[:0]
	for _, w := range batch {
		switch was := &w.draft.key; {
		case w.ctx.Err() != nil:
			w.done <- outcome{err: context.Cause(w.ctx)}
		case was.Version != key.Version || was.Key.ID != key.Key.ID || was.Key.Algorithm != key.Key.Algorithm:
			w.done <- outcome{err: errMoved}
		default:
			kept = append(kept, w)
		}
	}
	return kept
}

// why makes an error for those who got no signature. Where Vault is there and refuses, the key may have
// changed under us (a compromised version was withdrawn): then they may try again with the one that signs now.
func (l *lane) why(ctx context.Context, err error, key vaultkeys.SigningKey) error {
	if err == nil {
		return fmt.Errorf("%w: key %s version %d: it is empty", ErrBadSignature, l.name, key.Version)
	}
	if after, ok := l.c.Unavailable(err); ok {
		return &UnavailableError{RetryAfter: max(after, time.Second), Err: err}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &UnavailableError{RetryAfter: time.Second, Err: err}
	}
	if l.c.Keys.Reread(ctx, l.name) == nil {
		if now, err := l.c.Keys.Signer(l.name); err == nil && now.Version != key.Version {
			return errMoved
		}
	}
	return fmt.Errorf("issuer: signing with key %s version %d: %w", l.name, key.Version, err)
}

func tell(waiters []*waiter, err error) {
	for _, w := range waiters {
		w.done <- outcome{err: err}
	}
}
