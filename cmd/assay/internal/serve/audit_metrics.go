package serve

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/assaypdp/assay/pdp/audit"
)

// auditMetrics counts what happens to records. It is the observer of the recorder, the ledger and the mask.
type auditMetrics struct {
	decisions, changes   prometheus.Counter
	failures             *prometheus.CounterVec
	recorded, committed  prometheus.Histogram
	batch                prometheus.Histogram
	writeFailed, dropped prometheus.Counter
	maskFailed, noKey    prometheus.Counter
	masked               prometheus.Histogram
}

func newAuditMetrics() *auditMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "assay_audit_" + name, Help: help})
	}
	seconds := func(name, help string, from float64, count int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "assay_audit_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(from, 2, count)})
	}
	return &auditMetrics{
		decisions: counter("decisions_total", "Decisions that were recorded."),
		changes:   counter("changes_total", "Changes that were recorded."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assay_audit_failures_total", Help: "Records that are not in the log; in durable mode each was an answer 503.",
		}, []string{"record"}),
		recorded:    seconds("record_seconds", "How long a record took until it was where the log's mode wants it.", 25e-6, 16),
		committed:   seconds("commit_seconds", "How long writing and syncing of one batch took.", 100e-6, 16),
		batch:       seconds("commit_records", "Records in one batch.", 1, 12),
		writeFailed: counter("write_failures_total", "Writes and syncs that failed."),
		dropped:     counter("dropped_total", "Records that buffered mode had no room for; they are lost."),
		maskFailed:  counter("mask_failures_total", "Decisions that were recorded with everything masked, since the mask was undefined or failed."),
		noKey:       counter("without_pseudonyms_total", "Records in which identifiers are erased for want of a key."),
		masked:      seconds("mask_seconds", "How long evaluations of the mask took.", 25e-6, 13),
	}
}

func (m *auditMetrics) register(registry *prometheus.Registry, t *auditTrail) error {
	gauge := func(name, help string, of func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "assay_audit_" + name, Help: help}, of)
	}
	errs := make([]error, 0, 20)
	for _, c := range []prometheus.Collector{
		m.decisions, m.changes, m.failures, m.recorded, m.committed, m.batch, m.writeFailed, m.dropped, m.maskFailed, m.noKey, m.masked,
		gauge("records", "Records in the log, those that retention deleted included.", func() float64 { return float64(t.health().Size) }),
		gauge("checkpoint_records", "Records under the newest checkpoint.", func() float64 { return float64(t.health().CheckpointSize) }),
		gauge("checkpoint_timestamp_seconds", "When the newest checkpoint was made.", func() float64 {
			if at := t.health().CheckpointTime; !at.IsZero() {
				return float64(at.UnixMilli()) / 1e3
			}
			return 0
		}),
		gauge("waiting_bytes", "Records that are not on disk yet.", func() float64 { return float64(t.health().WaitingBytes) }),
	} {
		errs = append(errs, registry.Register(c))
	}
	return errors.Join(errs...)
}

// Recorded implements audit.Observer.
func (m *auditMetrics) Recorded(kind string, _ int, took time.Duration, failure error) {
	m.recorded.Observe(took.Seconds())
	switch {
	case failure != nil && kind == audit.KindDecision:
		m.failures.WithLabelValues("decision").Inc()
	case failure != nil:
		m.failures.WithLabelValues("change").Inc()
	case kind == audit.KindDecision:
		m.decisions.Inc()
	default:
		m.changes.Inc()
	}
}

// MaskFailed implements audit.Observer.
func (m *auditMetrics) MaskFailed(error) { m.maskFailed.Inc() }

// WithoutPseudonyms implements audit.Observer.
func (m *auditMetrics) WithoutPseudonyms() { m.noKey.Inc() }

// Committed implements ledger.Observer.
func (m *auditMetrics) Committed(records, _ int, took time.Duration) {
	m.committed.Observe(took.Seconds())
	m.batch.Observe(float64(records))
}

// Failed implements ledger.Observer.
func (m *auditMetrics) Failed(error) { m.writeFailed.Inc() }

// Dropped implements ledger.Observer.
func (m *auditMetrics) Dropped(records int) { m.dropped.Add(float64(records)) }

// Masked implements masking.Observer.
func (m *auditMetrics) Masked(took time.Duration, _ error) { m.masked.Observe(took.Seconds()) }
