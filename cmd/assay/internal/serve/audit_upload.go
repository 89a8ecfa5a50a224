package serve

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/pdp/audit/upload"
)

// uploading is one place outside that records of the audit log are delivered to.
type uploading struct {
	shipper *upload.Shipper
	// mayMiss: retention does not wait for it.
	mayMiss bool
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
		t.uploads = append(t.uploads, uploading{shipper, c.MayMiss})
	}
	if t.deliveries != nil {
		t.deliveries.of.Store(&t.uploads)
	}
	return nil
}

func (t *auditTrail) newShipper(c *config.Upload, log upload.Log) (*upload.Shipper, error) {
	to, err := t.uploadDestination(c)
	if err != nil {
		return nil, err
	}
	wired := upload.Config{Name: c.Name, Dir: filepath.Join(t.c.Dir, "upload"), Log: log, Destination: to, Now: t.d.Now, Logger: t.d.Log}
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

// undelivered is the lowest index that some destination still waits for, for ledger.Config.Keep. The ledger asks once
// it is run, which is after startUploads.
func (t *auditTrail) undelivered() int64 {
	lowest := int64(math.MaxInt64)
	for _, u := range t.uploads {
		if !u.mayMiss {
			lowest = upload.Hold(lowest, u.shipper)
		}
	}
	return lowest
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
			if h.Error != "" {
				cause += ": " + h.Error
			}
			causes = append(causes, cause)
		}
		if h.Refused > 0 {
			causes = append(causes, fmt.Sprintf("audit upload %s: %d records are too large for it and stand in %s", h.Name, h.Refused, h.RefusedFile))
		}
		if h.Missed > 0 {
			causes = append(causes, fmt.Sprintf("audit upload %s: %d records were deleted from the log before they were delivered", h.Name, h.Missed))
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
