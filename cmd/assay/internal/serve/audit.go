package serve

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/masking"
	"github.com/assaypdp/assay/vaultkeys/notary"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// auditTrail is the log of decisions and changes, with what makes its records.
type auditTrail struct {
	c        *config.Audit
	d        Deps
	log      *trailLog
	recorder *audit.Recorder
	// notary is the login that signs checkpoints and has the keys of pseudonyms; nil without such a key.
	notary     *transit.Client
	signer     *notary.Signer // nil: no checkpoints
	pseudonyms *audit.Keyed   // nil: identifiers are erased
	uploads    []uploading
	deliveries *uploadMetrics // nil without uploads
	// unpublish ends the connections that checkpoints are published by; nil before start.
	unpublish func()

	stop context.CancelFunc
	done chan error
	// stopUploads ends the deliveries, and delivered is closed then: before stop, so that what they still record is under
	// the last checkpoint.
	stopUploads context.CancelFunc
	delivered   chan struct{}
}

// newAuditTrail answers nil where no log is configured. It opens nothing and asks nobody. revision gives the policy in
// force, which says what may be written; nil: nothing that a mask could clear is written.
func newAuditTrail(c *config.Config, d Deps, m *auditMetrics, called func(string, time.Duration, error), revision func() *policy.Revision) (*auditTrail, error) {
	if !c.Audit.Configured() {
		return nil, nil //nolint:nilnil // nothing is configured, which is no error
	}
	t := &auditTrail{c: &c.Audit, d: d}
	if err := t.useNotary(c, called); err != nil {
		return nil, err
	}
	t.log = &trailLog{config: ledger.Config{
		Dir: c.Audit.Dir, Origin: c.Audit.Origin, Mode: ledger.Mode(c.Audit.Mode),
		SegmentBytes: c.Audit.SegmentBytes, SegmentAge: c.Audit.SegmentAge.D(), Retention: c.Audit.Retention.D(),
		CheckpointEvery: c.Audit.Checkpoint.Every.D(), BufferBytes: c.Audit.BufferBytes, Now: d.Now, Observer: m,
		Describe: func(change pdp.Change) []byte { return t.recorder.EncodeChange(change) },
		Keep:     t.needed,
	}}
	if t.signer != nil {
		t.log.config.Signer = t.signer
	}
	wired := audit.Config{
		Log: t.log, Origin: c.Audit.Origin, Masker: audit.Nothing{}, Instance: c.Audit.Origin, Version: d.Version,
		NewID: newID, Now: d.Now, Observer: m,
	}
	if t.pseudonyms != nil {
		wired.Pseudonyms = t.pseudonyms
	}
	if revision != nil {
		masker, err := masking.New(masking.Config{Revision: revision, NewKept: func() any { return &audit.Kept{} }, Now: d.Now, Observer: m})
		if err != nil {
			return nil, err
		}
		wired.Masker = policyMasker{masker}
	}
	var err error
	t.recorder, err = audit.New(wired)
	return t, err
}

// useNotary logs in as the notary where one of the log's keys is in Vault.
func (t *auditTrail) useNotary(c *config.Config, called func(string, time.Duration, error)) error {
	checkpoint, pseudonym := c.Audit.Checkpoint.Key, c.Audit.Pseudonyms.Key
	if checkpoint == "" && pseudonym == "" {
		return nil
	}
	var err error
	if t.notary, err = NewClient(c, c.Vault.Roles.Notary, t.d, called); err != nil {
		return err
	}
	if checkpoint != "" {
		if t.signer, err = notary.NewSigner(notary.SignerConfig{Vault: t.notary, Key: checkpoint, Origin: c.Audit.Origin, Now: t.d.Now}); err != nil {
			return err
		}
	}
	if pseudonym == "" {
		return nil
	}
	periods, err := notary.NewPeriods(notary.PeriodsConfig{Vault: t.notary, Key: pseudonym, Now: t.d.Now})
	if err != nil {
		return err
	}
	t.pseudonyms, err = audit.NewKeyed(audit.KeyedConfig{Keys: periods, Period: audit.Period(c.Audit.Pseudonyms.Period), Now: t.d.Now})
	return err
}

// lockWait is how long a server waits for a command to give the log back.
const lockWait = 10 * time.Second

// start opens the log for a server, writes down what was changed while the App was put together, and begins to look after
// it. Everything that records must have ended before close.
func (t *auditTrail) start(ctx context.Context) error {
	var err error
	if t.log.config.Publishers, t.unpublish, err = publishers(t.c, t.d); err != nil {
		return err
	}
	if err := t.log.open(ctx, lockWait); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	t.loadPseudonyms(ctx)
	if err := t.log.writeWaiting(ctx); err != nil {
		return errors.Join(fmt.Errorf("audit: %w", err), t.log.close())
	}
	if err := t.startUploads(); err != nil {
		return errors.Join(fmt.Errorf("audit: %w", err), t.log.close())
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.stop, t.done = stop, make(chan error, 1)
	go func() { t.done <- t.run(background) }()
	t.deliver(context.WithoutCancel(ctx))
	return nil
}

func (t *auditTrail) loadPseudonyms(ctx context.Context) {
	if t.pseudonyms == nil {
		return
	}
	if err := t.pseudonyms.Load(ctx); err != nil {
		t.d.Log.Warn("audit: identifiers are erased until the key of pseudonyms can be had", "cause", err.Error())
	}
}

func (t *auditTrail) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return t.log.ledger().Run(ctx) })
	group.Go(func() error { return t.buildIndexes(ctx) })
	if t.notary != nil {
		// The last checkpoint is signed once ctx has ended, so the login outlives it.
		login, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		go func() { _ = t.notary.Run(login) }() // ends with login; what fails it says in its status
	}
	if t.pseudonyms != nil {
		group.Go(func() error { return t.pseudonyms.Run(ctx) })
	}
	return group.Wait()
}

// close ends what start began, within half a minute whatever does not answer: what waits is written and delivered, then
// all is put under a last checkpoint, which is published, then the log is given back.
func (t *auditTrail) close() error {
	if t == nil {
		return nil
	}
	var err error
	if t.stop != nil {
		t.endUploads()
		t.stop()
		if err = <-t.done; errors.Is(err, context.Canceled) {
			err = nil
		}
		t.stop = nil
	}
	err = errors.Join(err, t.log.close())
	if t.unpublish != nil {
		t.unpublish()
		t.unpublish = nil
	}
	if t.notary != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if failed := t.notary.Close(ctx); failed != nil {
			t.d.Log.Debug("a Vault login could not be given back; it expires by itself", "cause", failed.Error())
		}
	}
	return err
}

// causes says what is amiss, and whether no decision can be answered: its record could not be written.
func (t *auditTrail) causes() (causes []string, failing bool) {
	l := t.log.ledger()
	if l == nil {
		return []string{"audit: the log is not open"}, true
	}
	h := l.Health()
	for _, p := range h.Problems {
		causes = append(causes, fmt.Sprintf("audit: %s since %s: %s", p.Code, p.Since.UTC().Format(time.RFC3339), p.Err))
	}
	if t.pseudonyms != nil {
		if err := t.pseudonyms.Failing(); err != nil {
			causes = append(causes, fmt.Sprintf("audit: pseudonyms are unavailable, identifiers are erased: %v", err))
		}
	}
	causes = append(causes, t.uploadCauses()...)
	return causes, h.Mode == ledger.Durable && !h.Writable
}

func (t *auditTrail) health() ledger.Health {
	if l := t.log.ledger(); l != nil {
		return l.Health()
	}
	return ledger.Health{}
}

// policyMasker asks policy what may be written.
type policyMasker struct{ masker *masking.Masker }

// Mask implements audit.Masker.
func (p policyMasker) Mask(ctx context.Context, f *pdp.Facts, d *pdp.Decision) (audit.Mask, error) {
	m, err := p.masker.Mask(ctx, f, d)
	kept, _ := m.Kept.(*audit.Kept)
	return audit.Mask{
		Clear: m.Clear, Pseudonymise: m.Pseudonymise, ClearRequest: m.ClearRequest, PseudonymiseRequest: m.PseudonymiseRequest,
		Remove: m.Remove, Revision: m.Revision, Kept: kept,
	}, err
}

// trailLog is the log of a server or of a command. Until a server has opened it, what is recorded waits in memory: those are
// the changes of a start. It implements audit.Log.
type trailLog struct {
	config ledger.Config

	mu      sync.RWMutex
	opened  *ledger.Ledger
	command bool // opened with the first record, or left in the inbox where a server has the log
	left    bool // a server has it
	closed  bool // by a server, which opens it no more
	waiting []waitingRecord
}

type waitingRecord struct {
	at   time.Time
	text []byte
}

// mostWaiting is how many records wait for a log that is not open.
const mostWaiting = 1000

var errNotOpen = errors.New("the audit log is not open")

func (l *trailLog) ledger() *ledger.Ledger {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.opened
}

// open takes the log, and waits for it while another process has it.
func (l *trailLog) open(ctx context.Context, wait time.Duration) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		taken, err := ledger.Open(ctx, l.config)
		if err == nil {
			l.mu.Lock()
			l.opened = taken
			l.mu.Unlock()
			return nil
		}
		if !errors.Is(err, ledger.ErrLocked) {
			return err
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return fmt.Errorf("%w: one server writes a log; give every replica a folder of its own", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writeWaiting appends what waited.
func (l *trailLog) writeWaiting(ctx context.Context) error {
	l.mu.Lock()
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, r := range waiting {
		if _, _, _, err := l.Append(ctx, r.at, r.text); err != nil {
			return err
		}
	}
	return nil
}

// forCommand has the log opened with the first record, by a process that is no server. What was changed to put it
// together is not in force anywhere, and is forgotten.
func (l *trailLog) forCommand() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.command, l.waiting = true, nil
}

// Append implements audit.Log.
func (l *trailLog) Append(ctx context.Context, at time.Time, record []byte) (int64, [32]byte, bool, error) {
	opened, err := l.taker(ctx, at, record)
	if opened == nil || err != nil {
		return -1, [32]byte{}, false, err
	}
	index, hash, durable, err := opened.Append(ctx, at, record)
	return index, hash, durable, dropped(err)
}

// Promise implements audit.Log.
func (l *trailLog) Promise(ctx context.Context, at time.Time, record []byte, w pdp.Witness) (int64, [32]byte, bool, error) {
	opened, err := l.taker(ctx, at, record)
	if opened == nil || err != nil {
		return -1, [32]byte{}, false, err
	}
	index, hash, promised, err := opened.Promise(ctx, at, record, w)
	return index, hash, promised, dropped(err)
}

func dropped(err error) error {
	if errors.Is(err, ledger.ErrDropped) {
		return fmt.Errorf("%w: %w", audit.ErrDropped, err)
	}
	return err
}

// taker is the ledger that takes a record; nil where the record is kept elsewhere.
func (l *trailLog) taker(ctx context.Context, at time.Time, record []byte) (*ledger.Ledger, error) {
	if opened := l.ledger(); opened != nil {
		return opened, nil
	}
	if left, err := l.unopened(ctx, at, record); left || err != nil {
		return nil, err
	}
	return l.ledger(), nil
}

// unopened keeps a record elsewhere, or opens the log and tells that it did not.
func (l *trailLog) unopened(ctx context.Context, at time.Time, record []byte) (kept bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.opened != nil:
		return false, nil
	case l.closed: // a request that outlived the server's patience is not answered as if it were recorded
		return true, errNotOpen
	case l.left:
		return true, ledger.Leave(l.config.Dir, at, record)
	case l.command:
		l.opened, err = ledger.Open(ctx, l.config)
		if errors.Is(err, ledger.ErrLocked) {
			l.left = true
			return true, ledger.Leave(l.config.Dir, at, record)
		}
		return false, err
	case len(l.waiting) >= mostWaiting:
		return true, errNotOpen
	}
	l.waiting = append(l.waiting, waitingRecord{at, append([]byte(nil), record...)})
	return true, nil
}

func (l *trailLog) close() error {
	l.mu.Lock()
	opened := l.opened
	l.opened, l.left, l.closed = nil, false, !l.command
	l.mu.Unlock()
	if opened == nil {
		return nil
	}
	return opened.Close()
}
