package serve

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/keyset"
	"github.com/assaypdp/assay/pdp/token"
)

// metrics are the observers that the packages below are handed. Labels are bounded: statuses, constant
// words, and the issuers of the configuration.
type metrics struct {
	examined   *prometheus.CounterVec
	signatures *prometheus.HistogramVec
	evicted    prometheus.Counter
	evaluated  prometheus.Histogram
	failed     prometheus.Counter
	remembered prometheus.Counter
	loads      *prometheus.CounterVec
	issuerKeys *prometheus.GaugeVec
	vaultCalls *prometheus.HistogramVec
}

func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		examined: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assay_tokens_examined_total", Help: "Examinations of tokens by how they ended and whether the cache answered.",
		}, []string{"status", "cached"}),
		signatures: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assay_signature_verification_seconds", Help: "How long the verification of signatures took, by algorithm and outcome.",
			Buckets: prometheus.ExponentialBuckets(10e-6, 2, 12),
		}, []string{"alg", "valid"}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "assay_token_cache_evictions_total", Help: "Verified tokens that were dropped from the cache for want of room.",
		}),
		evaluated: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "assay_policy_evaluation_seconds", Help: "How long evaluations of the policy took.",
			Buckets: prometheus.ExponentialBuckets(25e-6, 2, 13),
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "assay_policy_failures_total", Help: "Evaluations without a usable verdict; each was a deny.",
		}),
		remembered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "assay_policy_remembered_total", Help: "Verdicts of the same second that were used again.",
		}),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assay_keyset_loads_total", Help: "Loads of issuers' keys by trigger and outcome.",
		}, []string{"issuer", "trigger", "outcome"}),
		issuerKeys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "assay_keyset_keys", Help: "Keys in force by issuer.",
		}, []string{"issuer"}),
		vaultCalls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assay_vault_request_seconds", Help: "Requests to Vault by operation and outcome.",
			Buckets: prometheus.ExponentialBuckets(1e-3, 2, 13),
		}, []string{"operation", "outcome"}),
	}
	for _, c := range []prometheus.Collector{
		m.examined, m.signatures, m.evicted, m.evaluated, m.failed, m.remembered, m.loads, m.issuerKeys, m.vaultCalls,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// TokenExamined implements token.Observer.
func (m *metrics) TokenExamined(status pdp.Status, cached bool) {
	m.examined.WithLabelValues(string(status), strconv.FormatBool(cached)).Inc()
}

// SignatureChecked implements token.WorkObserver.
func (m *metrics) SignatureChecked(alg string, valid bool, took time.Duration) {
	m.signatures.WithLabelValues(alg, strconv.FormatBool(valid)).Observe(took.Seconds())
}

// TokenEvicted implements token.WorkObserver.
func (m *metrics) TokenEvicted(uint32) { m.evicted.Inc() }

// watchCache shows how full the verified-token cache is.
func watchCache(registry *prometheus.Registry, examiner *token.Examiner) error {
	tokens := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "assay_token_cache_tokens", Help: "Verified tokens in the cache.",
	}, func() float64 { n, _ := examiner.CacheSize(); return float64(n) })
	bytes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "assay_token_cache_bytes", Help: "What the cache of verified tokens takes, by estimate.",
	}, func() float64 { _, size := examiner.CacheSize(); return float64(size) })
	return errors.Join(registry.Register(tokens), registry.Register(bytes))
}

// PolicyEvaluated implements policy.Observer.
func (m *metrics) PolicyEvaluated(took time.Duration, failure error) {
	m.evaluated.Observe(took.Seconds())
	if failure != nil {
		m.failed.Inc()
	}
}

// PolicyRemembered implements policy.Observer.
func (m *metrics) PolicyRemembered() { m.remembered.Inc() }

func (m *metrics) keySetLoaded(e keyset.LoadEvent) {
	outcome := "ok"
	if e.Err != nil {
		outcome = "error"
	}
	m.loads.WithLabelValues(e.Issuer, string(e.Trigger), outcome).Inc()
	m.issuerKeys.WithLabelValues(e.Issuer).Set(float64(e.Keys))
}

func (m *metrics) vaultCalled(operation string, took time.Duration, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.vaultCalls.WithLabelValues(operation, outcome).Observe(took.Seconds())
}
