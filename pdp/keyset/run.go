package keyset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The wait before the next try after failures in a row doubles from the first to the last of these.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// retryIn is the wait after that many failures in a row, one or more.
func retryIn(failures int) time.Duration {
	return min(firstRetry<<min(failures-1, 10), lastRetry)
}

// Load reads every source once, all at the same time, and puts the outcomes in force in the order of the
// configuration. It fails only where a local source can not be used: a remote one that is down is tried
// again by Run, and Health tells of it. Run calls Load where nobody did.
func (s *Set) Load(ctx context.Context) error {
	s.mu.Lock()
	s.started = true
	s.mu.Unlock()
	flights := make([]*flight, 0, len(s.order))
	var before *flight
	for _, issuer := range s.order {
		before, _ = s.join(issuer, AtStart, before)
		if before == nil {
			return errors.New("keyset: it was stopped")
		}
		flights = append(flights, before)
	}
	var failed []error
	for n, issuer := range s.order {
		select {
		case <-flights[n].done:
		case <-ctx.Done():
			return ctx.Err()
		}
		issuer.mu.Lock()
		err := issuer.record.err
		issuer.mu.Unlock()
		if err != nil && issuer.Source.Local() {
			failed = append(failed, fmt.Errorf("keys of issuer %s: %w", issuer.Issuer.ID, err))
		}
	}
	return errors.Join(failed...)
}

// Run keeps all keys fresh until ctx ends; then it waits for what it started and answers nil. Its error is
// that of Load. After it no source is read any more. It is to be called once.
func (s *Set) Run(ctx context.Context) error {
	defer s.stop()
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	if !started {
		if err := s.Load(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	var keepers sync.WaitGroup
	for _, issuer := range s.order {
		changed := make(chan struct{}, 1)
		keepers.Go(func() { s.watch(ctx, issuer, changed) })
		keepers.Go(func() { s.keep(ctx, issuer, changed) })
	}
	keepers.Wait()
	return nil
}

func (s *Set) stop() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
}

// watch turns what the source notices into at most one pending change.
func (s *Set) watch(ctx context.Context, i *issuerKeys, changed chan<- struct{}) {
	for ctx.Err() == nil {
		err := i.Source.Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			default: // one is pending, and its load is yet to start
			}
		})
		i.mu.Lock()
		i.record.watchErr = err
		i.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-s.c.After(lastRetry):
		}
	}
}

// keep loads on schedule and on change.
func (s *Set) keep(ctx context.Context, i *issuerKeys, changed <-chan struct{}) {
	for {
		trigger := OnSchedule
		select {
		case <-ctx.Done():
			return
		case <-changed:
			trigger = OnChange
		case <-s.c.After(s.delay(i)):
		}
		// A load that was under way when the change was noticed may not have seen it.
		for started := false; !started; started = started || trigger == OnSchedule {
			var f *flight
			if f, started = s.join(i, trigger, nil); f == nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-f.done:
			}
		}
	}
}

// delay is how long to wait for the next load: what the source asked for, or the retry after failures, less
// up to a tenth at random so that replicas do not ask together.
func (s *Set) delay(i *issuerKeys) time.Duration {
	i.mu.Lock()
	next, failures := orDefault(i.record.next, DefaultRefresh), i.record.failures
	i.mu.Unlock()
	if failures > 0 {
		next = min(next, retryIn(failures))
	}
	return next - time.Duration(s.c.Random()*float64(next)/10)
}
