package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/revocation"
)

// revocationFeed runs the stream of revocations from the first load on until the App ends.
type revocationFeed struct {
	stream *revocation.Stream
	log    *slog.Logger

	// without tells that a command goes on without the index: a server holds it.
	without atomic.Bool

	mu   sync.Mutex // guards stop and done
	stop context.CancelFunc
	done chan struct{}
}

// newRevocationFeed answers nil where no revocations are configured.
func newRevocationFeed(c *config.Config, d Deps, registry *prometheus.Registry) (*revocationFeed, error) {
	r, j := &c.Revocation, &c.Revocation.JetStream
	if !r.Configured() {
		return nil, nil //nolint:nilnil // nothing is configured, which is no error
	}
	m := newRevocationMetrics()
	stream, err := revocation.New(revocation.Config{
		Dir: j.Dir, URL: j.URL, CredentialsFile: j.CredentialsFile, CAFile: j.CAFile, CertFile: j.CertFile, KeyFile: j.KeyFile,
		Replicas: j.Replicas, Stream: j.Stream, StoreLimit: j.StoreLimit, MaxAge: r.MaxAge.D(), Heartbeat: r.Heartbeat.D(),
		Now: d.Now, Log: d.Log, Observer: m,
	})
	if err != nil {
		return nil, err
	}
	return &revocationFeed{stream: stream, log: d.Log}, m.register(registry, stream)
}

// load starts to read the stream, once; what calls it again finds it running. It does not wait for the index.
func (f *revocationFeed) load() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done != nil || f.without.Load() {
		return nil
	}
	if err := f.stream.Start(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stop, f.done = stop, make(chan struct{})
	go func() {
		defer close(f.done)
		if err := f.stream.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			f.log.Error("revocation stream: reading ended", "error", err)
		}
	}()
	go f.progress(ctx)
	return nil
}

// progressEvery is how often the first load's progress is told.
const progressEvery = 2 * time.Second

// progress logs how the first load of the index goes.
func (f *revocationFeed) progress(ctx context.Context) {
	began := time.Now()
	for {
		waiting, cancel := context.WithTimeout(ctx, progressEvery)
		err := f.stream.WaitComplete(waiting)
		cancel()
		h := f.stream.Health()
		switch {
		case err == nil:
			f.log.Info("revocations loaded", "entries", h.Entries, "messages", h.Loaded, "index_bytes", h.Bytes, "took", time.Since(began).String())
			return
		case ctx.Err() != nil:
			return
		}
		f.log.Info("loading revocations", "loaded", h.Loaded, "pending", h.Pending, "error", h.Error)
	}
}

// onceTimeout is how long a command without a server waits for the index.
const onceTimeout = time.Minute

// ready waits until the index is complete. For commands: a server listens meanwhile, and says that it is not ready.
func (f *revocationFeed) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	if err := f.stream.WaitComplete(ctx); err != nil {
		h := f.stream.Health()
		return fmt.Errorf("what is revoked is not known yet (%d messages read, %d to go): %s", h.Loaded, h.Pending, orUnknown(h.Error))
	}
	return nil
}

// close ends the reading and stops an embedded server.
func (f *revocationFeed) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done == nil {
		return nil
	}
	f.stop()
	<-f.done
	return f.stream.Close()
}

// causes says what is amiss, and whether no correct decision can be made: the index was never complete.
func (f *revocationFeed) causes() (causes []string, failing bool) {
	h := f.stream.Health()
	if !h.Complete {
		return []string{fmt.Sprintf("revocations: the index is being loaded: %d messages read, %d to go%s", h.Loaded, h.Pending, because(h.Error))}, true
	}
	if !h.Fresh {
		causes = append(causes, fmt.Sprintf("revocations: the index is %s old and no longer fresh%s", h.Age.Round(time.Millisecond), because(h.Error)))
	} else if h.Error != "" {
		causes = append(causes, "revocations: "+h.Error)
	}
	return causes, false
}

func because(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// LoadRevocations starts to read what is revoked and waits until all of it is known; at once where nothing is configured.
func (a *App) LoadRevocations(ctx context.Context) error {
	if a.revocations == nil {
		return nil
	}
	if err := a.revocations.load(); err != nil {
		return err
	}
	return a.revocations.ready(ctx)
}

// consultRevocations is LoadRevocations for a command without a server. Where the server of this configuration runs and
// holds the folder of the embedded stream, the command goes on, says so, and policy is told that nothing is known.
func (a *App) consultRevocations(ctx context.Context) error {
	err := a.LoadRevocations(ctx)
	if errors.Is(err, revocation.ErrInUse) {
		a.revocations.without.Store(true)
		a.log.Warn("revocations are not looked at here: the running server holds them; ask it with POST /decide", "folder", a.config.Revocation.JetStream.Dir)
		return nil
	}
	return err
}

// Lookup implements pdp.Revocations.
func (f *revocationFeed) Lookup(t *pdp.Token, v *pdp.Verification) pdp.Revocation {
	if f.without.Load() {
		return pdp.Revocation{}
	}
	return f.stream.Index().Lookup(t, v)
}

// closeRevocations ends what LoadRevocations and Load began.
func (a *App) closeRevocations() error {
	if a.revocations == nil {
		return nil
	}
	return a.revocations.close()
}
