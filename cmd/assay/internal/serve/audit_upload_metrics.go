package serve

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
)

// uploadMetrics counts deliveries of audit records and shows how far destinations are behind. It implements
// upload.Observer and prometheus.Collector. The label is the destination's name in the configuration.
type uploadMetrics struct {
	of                          atomic.Pointer[[]uploading] // nil until there are any
	delivered, refused, missed  *prometheus.CounterVec
	failures                    *prometheus.CounterVec
	took                        *prometheus.HistogramVec
	lagRecordsDesc, lagTimeDesc *prometheus.Desc
}

func newUploadMetrics(destinations []config.Upload) *uploadMetrics {
	label := []string{"destination"}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, label)
	}
	m := &uploadMetrics{
		delivered: counter("assay_audit_upload_records_total", "Audit records that a destination acknowledged; repeated ones count again."),
		failures:  counter("assay_audit_upload_failures_total", "Deliveries of audit records that have to be repeated."),
		refused:   counter("assay_audit_upload_refused_total", "Audit records that are too large for a destination and were set aside."),
		missed:    counter("assay_audit_upload_missed_total", "Audit records that were given up, or deleted by retention, before they were delivered."),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assay_audit_upload_delivery_seconds", Help: "How long deliveries took that were acknowledged, at least in part.",
			Buckets: prometheus.ExponentialBuckets(1e-3, 4, 9),
		}, label),
		lagRecordsDesc: prometheus.NewDesc("assay_audit_upload_lag_records", "Audit records that wait for delivery.", label, nil),
		lagTimeDesc:    prometheus.NewDesc("assay_audit_upload_lag_seconds", "How long the oldest audit record that waits has waited.", label, nil),
	}
	for i := range destinations { // shown from the start
		for _, c := range []*prometheus.CounterVec{m.delivered, m.failures, m.refused, m.missed} {
			c.WithLabelValues(destinations[i].Name)
		}
	}
	return m
}

func (m *uploadMetrics) register(registry *prometheus.Registry) error {
	return errors.Join(registry.Register(m.delivered), registry.Register(m.failures), registry.Register(m.refused), registry.Register(m.missed),
		registry.Register(m.took), registry.Register(m))
}

// RecordsDelivered implements upload.Observer.
func (m *uploadMetrics) RecordsDelivered(name string, records int, took time.Duration) {
	m.delivered.WithLabelValues(name).Add(float64(records))
	m.took.WithLabelValues(name).Observe(took.Seconds())
}

// DeliveryFailed implements upload.Observer.
func (m *uploadMetrics) DeliveryFailed(name string, _ error) { m.failures.WithLabelValues(name).Inc() }

// RecordRefused implements upload.Observer.
func (m *uploadMetrics) RecordRefused(name string, _ int64) { m.refused.WithLabelValues(name).Inc() }

// RecordsMissed implements upload.Observer.
func (m *uploadMetrics) RecordsMissed(name string, records int64) {
	m.missed.WithLabelValues(name).Add(float64(records))
}

// Describe implements prometheus.Collector.
func (m *uploadMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.lagRecordsDesc
	to <- m.lagTimeDesc
}

// Collect implements prometheus.Collector.
func (m *uploadMetrics) Collect(to chan<- prometheus.Metric) {
	of := m.of.Load()
	if of == nil {
		return
	}
	for _, u := range *of {
		h := u.shipper.Health()
		to <- prometheus.MustNewConstMetric(m.lagRecordsDesc, prometheus.GaugeValue, float64(h.Lag), h.Name)
		to <- prometheus.MustNewConstMetric(m.lagTimeDesc, prometheus.GaugeValue, h.Behind.Seconds(), h.Name)
	}
}
