package serve

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/assaypdp/assay/pdp/revocation"
)

// revocationMetrics implements revocation.Observer.
type revocationMetrics struct {
	published *prometheus.HistogramVec
	delay     prometheus.Histogram
	reopened  *prometheus.CounterVec
}

func newRevocationMetrics() *revocationMetrics {
	return &revocationMetrics{
		published: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assay_revocation_publish_seconds", Help: "How long revocations made here took until they were stored and in force here, by outcome.",
			Buckets: prometheus.ExponentialBuckets(1e-3, 2, 14),
		}, []string{"outcome"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "assay_revocation_delay_seconds", Help: "How long after it was stored a change was in force here, by the clocks of the stream's servers and of this machine.",
			Buckets: prometheus.ExponentialBuckets(1e-3, 2, 14),
		}),
		reopened: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assay_revocation_stream_reopened_total", Help: "How often reading the stream began anew, or the embedded server was started again.",
		}, []string{"cause"}),
	}
}

// RevocationPublished implements revocation.Observer.
func (m *revocationMetrics) RevocationPublished(took time.Duration, err error) {
	outcome := "ok"
	switch {
	case errors.Is(err, revocation.ErrInvalid), errors.Is(err, revocation.ErrNotFound):
		outcome = "refused"
	case err != nil:
		outcome = "error"
	}
	m.published.WithLabelValues(outcome).Observe(took.Seconds())
}

// RevocationApplied implements revocation.Observer.
func (m *revocationMetrics) RevocationApplied(delay time.Duration) {
	m.delay.Observe(max(delay, 0).Seconds())
}

// StreamReopened implements revocation.Observer.
func (m *revocationMetrics) StreamReopened(cause string) { m.reopened.WithLabelValues(cause).Inc() }

func (m *revocationMetrics) register(registry *prometheus.Registry, s *revocation.Stream) error {
	gauge := func(name, help string, value func(revocation.Health) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(s.Health()) })
	}
	var problems []error
	for _, c := range []prometheus.Collector{
		m.published, m.delay, m.reopened,
		gauge("assay_revocation_entries", "Entries in the index of revocations.", func(h revocation.Health) float64 { return float64(h.Entries) }),
		gauge("assay_revocation_index_bytes", "Memory of the index of revocations.", func(h revocation.Health) float64 { return float64(h.Bytes) }),
		gauge("assay_revocation_age_seconds", "How long ago the heartbeat was sent that was last read back; -1 before the first.", func(h revocation.Health) float64 {
			if h.Age < 0 {
				return -1
			}
			return h.Age.Seconds()
		}),
		gauge("assay_revocation_complete", "1 once the whole stream was read since the start.", func(h revocation.Health) float64 { return one(h.Complete) }),
		gauge("assay_revocation_fresh", "1 while the index is within revocation.max_age.", func(h revocation.Health) float64 { return one(h.Fresh) }),
	} {
		problems = append(problems, registry.Register(c))
	}
	return errors.Join(problems...)
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
