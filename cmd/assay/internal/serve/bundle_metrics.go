package serve

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bundleMetrics count what happens to the parts of the policy. Bundles are those of the configuration, reasons a
// few constant words.
type bundleMetrics struct {
	refusals  *prometheus.CounterVec
	standing  *prometheus.GaugeVec
	activity  *prometheus.GaugeVec
	reloads   *prometheus.CounterVec
	compiling prometheus.Histogram
}

func newBundleMetrics(registry *prometheus.Registry) (*bundleMetrics, error) {
	m := &bundleMetrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assay_policy_activations_total", Help: "Times that new content of a bundle or of the policy configuration was put in force.",
		}, []string{"bundle"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assay_policy_refusals_total", Help: "Times that a bundle or the policy configuration was not put in force, by reason.",
		}, []string{"bundle", "reason"}),
		standing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "assay_policy_refused", Help: "1 while the newest content of a bundle or of the policy configuration is not in force.",
		}, []string{"bundle"}),
		activity: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "assay_policy_activated_timestamp_seconds", Help: "When the content that is in force was put in force.",
		}, []string{"bundle"}),
		compiling: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "assay_policy_compilation_seconds", Help: "How long it took to compile and test a policy aside.",
			Buckets: prometheus.ExponentialBuckets(10e-3, 2, 12),
		}),
	}
	return m, errors.Join(registry.Register(m.reloads), registry.Register(m.refusals), registry.Register(m.standing),
		registry.Register(m.activity), registry.Register(m.compiling))
}

func (m *bundleMetrics) compiled(took time.Duration) { m.compiling.Observe(took.Seconds()) }

func (m *bundleMetrics) activated(bundle string, at time.Time) {
	m.reloads.WithLabelValues(bundle).Inc()
	m.activity.WithLabelValues(bundle).Set(float64(at.UnixMilli()) / 1000)
}

func (m *bundleMetrics) refused(bundle, reason string) {
	m.refusals.WithLabelValues(bundle, reason).Inc()
	m.standing.WithLabelValues(bundle).Set(1)
}

func (m *bundleMetrics) solved(bundle string) { m.standing.WithLabelValues(bundle).Set(0) }
