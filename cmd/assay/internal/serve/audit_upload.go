package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/pdp/audit/upload"
)

// uploading is one place outside that records of the audit log are delivered to.
type uploading struct {
	shipper *upload.Shipper
	// hold is how long retention waits for it; zero: not at all.
	hold time.Duration
}

// watchUploads shows how deliveries go.
func (t *auditTrail) watchUploads(registry *prometheus.Registry) error {
	if len(t.c.Upload) == 0 {
		return nil
	}
	t.deliveries = newUploadMetrics(t.c.Upload)
	return t.deliveries.register(registry)
}

// startUploads makes what delivers, once the log is open; run has it deliver, and close its connections at the end.
func (t *auditTrail) startUploads() error {
	if len(t.c.Upload) == 0 {
		return nil
	}
	l := t.log.ledger()
	reader, err := l.Reader()
	if err != nil {
		return err
	}
	for i := range t.c.Upload {
		c := &t.c.Upload[i]
		shipper, err := t.newShipper(c, ledgerLog{l, reader, t.c.Origin})
		if err != nil {
			return fmt.Errorf("audit.upload %s: %w", c.Name, err)
		}
		t.uploads = append(t.uploads, uploading{shipper, c.Hold.D()})
	}
	if t.deliveries != nil {
		t.deliveries.of.Store(&t.uploads)
	}
	return nil
}

// deliver runs what delivers.
func (t *auditTrail) deliver(ctx context.Context) {
	ctx, t.stopUploads = context.WithCancel(ctx)
	t.delivered = make(chan struct{})
	var all sync.WaitGroup
	for _, u := range t.uploads {
		all.Go(func() {
			if err := u.shipper.Run(ctx); err != nil {
				t.d.Log.Warn("audit: the connection to a destination could not be closed", "destination", u.shipper.Health().Name, "cause", err.Error())
			}
		})
	}
	go func() { all.Wait(); close(t.delivered) }()
}

// endUploads has the destinations given what waits, what buffered mode has in memory too, for as long as they may take,
// and ends the deliveries.
func (t *auditTrail) endUploads() {
	if len(t.uploads) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(t.d.AuditFlush, upload.DefaultFlush))
		defer cancel()
		if err := t.log.ledger().Flush(ctx); err != nil {
			t.d.Log.Warn("audit: not all records could be written in time to be delivered", "cause", err.Error())
		}
	}
	t.stopUploads()
	<-t.delivered
}

func (t *auditTrail) newShipper(c *config.Upload, log upload.Log) (*upload.Shipper, error) {
	to, err := t.uploadDestination(c)
	if err != nil {
		return nil, err
	}
	wired := upload.Config{Name: c.Name, Dir: filepath.Join(t.c.Dir, "upload"), Log: log, Destination: to,
		Flush: t.d.AuditFlush, KeepRefused: t.c.Retention.D(), Missed: t.missed, Now: t.d.Now, Logger: t.d.Log}
	if t.deliveries != nil {
		wired.Observer = t.deliveries
	}
	shipper, err := upload.New(wired)
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	return shipper, nil
}

func (t *auditTrail) uploadDestination(c *config.Upload) (upload.Destination, error) {
	if c.URL != "" {
		return upload.NewOPA(upload.OPAConfig{URL: c.URL, TokenFile: c.TokenFile, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile,
			ChunkBytes: c.ChunkBytes, Timeout: c.Timeout.D(), Now: t.d.Now})
	}
	j := &c.JetStream
	return upload.NewJetStream(upload.JetStreamConfig{
		NATS: upload.NATSConfig{URL: j.URL, CredentialsFile: j.CredentialsFile, CAFile: j.CAFile, CertFile: j.CertFile, KeyFile: j.KeyFile},
		Log:  t.c.Origin, Stream: j.Stream, Replicas: j.Replicas, MaxBytes: j.MaxBytes, MaxAge: j.MaxAge.D(), DuplicateWindow: j.DuplicateWindow.D(), Logger: t.d.Log,
	})
}

// missed records that a destination will not be given records of the log.
func (t *auditTrail) missed(ctx context.Context, l upload.Loss) error {
	return t.recorder.RecordChange(ctx, pdp.Change{
		Kind: pdp.LogUndelivered, At: t.d.Now(), Target: l.Destination, Reason: "not delivered while retention kept them",
		Details: map[string]any{"first": l.First, "records": l.Records},
	})
}

// needed tells whether a destination still waits for a segment that retention would delete; it is ledger.Config.Keep. A
// destination that has had its time is given up, once none other has the segment kept. The ledger asks once it is run,
// which is after startUploads.
func (t *auditTrail) needed(ctx context.Context, s ledger.Segment) (bool, error) {
	end, over := s.First+s.Count, s.LastTime.Add(t.c.Retention.D())
	for _, u := range t.uploads {
		if u.hold > 0 && u.shipper.Next() < end && t.d.Now().Before(over.Add(u.hold)) {
			return true, nil
		}
	}
	for _, u := range t.uploads {
		if u.hold == 0 {
			continue // it notices by itself what it missed, if it missed it
		}
		if err := u.shipper.GiveUp(ctx, end); err != nil {
			return true, err
		}
	}
	return false, nil
}

// longBehind is from when on a destination that lags is told in health, though nothing fails.
const longBehind = 5 * time.Minute

// uploadCauses tells what is amiss.
func (t *auditTrail) uploadCauses() []string {
	var causes []string
	for _, u := range t.uploads {
		h := u.shipper.Health()
		if h.Error != "" || h.Behind > longBehind {
			cause := fmt.Sprintf("audit upload %s: %d records wait, the oldest for %s", h.Name, h.Lag, h.Behind.Round(time.Second))
			if kept := t.c.Retention.D(); kept > 0 && h.Behind > kept {
				cause += fmt.Sprintf(" (retention deletes what is older than %s)", kept+u.hold)
			}
			if h.Error != "" {
				cause += ": " + h.Error
			}
			causes = append(causes, cause)
		}
		if h.Refused > 0 {
			causes = append(causes, fmt.Sprintf("audit upload %s: %d records are too large for it and stand in %s while retention keeps them", h.Name, h.Refused, h.RefusedFile))
		}
		if h.Missed > 0 {
			causes = append(causes, fmt.Sprintf("audit upload %s: %d records were given up or deleted from the log before they were delivered", h.Name, h.Missed))
		}
	}
	return causes
}

// ledgerLog is the ledger as what delivers sees it.
type ledgerLog struct {
	*ledger.Ledger
	reader *ledger.Reader
	origin string
}

// Origin implements upload.Log.
func (l ledgerLog) Origin() string { return l.origin }

// Follow implements upload.Log.
func (l ledgerLog) Follow(ctx context.Context, from int64) iter.Seq2[upload.Record, error] {
	return func(yield func(upload.Record, error) bool) {
		for r, err := range l.reader.Follow(ctx, from) {
			if !yield(upload.Record{Index: r.Index, Hash: r.Hash, Event: r.Event}, err) {
				return
			}
		}
	}
}
