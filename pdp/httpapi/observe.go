package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/assaypdp/assay/pdp"
)

// metrics are counted into children that were looked up once: no label is hashed on the way of a request.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	allowed  prometheus.Counter
	denied   prometheus.Counter
	reasons  map[string]map[pdp.Enforcement]prometheus.Counter // family -> enforcement
	shed     prometheus.Counter
	handler  http.Handler
}

type routeMetrics struct {
	classes  [6]prometheus.Counter // by status / 100
	duration prometheus.Observer
}

// families are those of reason codes that get a label of their own; any other counts as "other".
func families() []string { return append(pdp.Families(), "other") }

func newMetrics(a *API) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assay_http_requests_total", Help: "Requests by route and class of status.",
		}, []string{"route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "assay_http_request_duration_seconds", Help: "Time from a request's header to its answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"route"}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "assay_http_shed_total", Help: "Requests refused because too many were in flight.",
		}),
		reasons: make(map[string]map[pdp.Enforcement]prometheus.Counter),
	}
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "assay_decisions_total", Help: "Decisions answered, by whether they allow.",
	}, []string{"allow"})
	reasons := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "assay_decision_reasons_total", Help: "Reasons of the decisions answered, by their code's family and their enforcement.",
	}, []string{"family", "enforcement"})
	inFlight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "assay_http_in_flight", Help: "Requests that hold a place in flight.",
	}, func() float64 { return float64(len(a.places)) })
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.shed, decisions, reasons, inFlight} {
		if err := a.c.Registry.Register(c); err != nil {
			return nil, err
		}
	}
	m.allowed, m.denied = decisions.WithLabelValues("true"), decisions.WithLabelValues("false")
	for _, family := range families() {
		m.reasons[family] = make(map[pdp.Enforcement]prometheus.Counter)
		for _, enforcement := range []pdp.Enforcement{pdp.Deny, pdp.Warn, pdp.Waived} {
			m.reasons[family][enforcement] = reasons.WithLabelValues(family, string(enforcement))
		}
	}
	m.handler = promhttp.HandlerFor(a.c.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	return m, nil
}

// route looks a route's children up; the empty path stands for requests without a route.
func (m *metrics) route(path string) routeMetrics {
	if path == "" {
		path = "none"
	}
	r := routeMetrics{duration: m.duration.WithLabelValues(path)}
	for class := 1; class < len(r.classes); class++ {
		r.classes[class] = m.requests.WithLabelValues(path, strconv.Itoa(class)+"xx")
	}
	return r
}

func (r *routeMetrics) observe(status int, elapsed time.Duration) {
	class := status / 100
	if class < 1 || class >= len(r.classes) {
		class = 5
	}
	r.classes[class].Inc()
	r.duration.Observe(elapsed.Seconds())
}

func (m *metrics) decided(d *pdp.Decision) {
	if d.Allow {
		m.allowed.Inc()
	} else {
		m.denied.Inc()
	}
	for i := range d.Reasons {
		family, _, _ := strings.Cut(d.Reasons[i].Code, ".")
		counters, known := m.reasons[family]
		if !known {
			counters = m.reasons["other"]
		}
		counter, known := counters[d.Reasons[i].Enforcement]
		if !known {
			counter = counters[pdp.Deny] // what is neither warn nor waived denies
		}
		counter.Inc()
	}
}

// logAccess writes the one event of a request: never its token, claims or body.
func (x *exchange) logAccess(elapsed time.Duration) {
	if !x.api.c.AccessLog.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	attributes := make([]slog.Attr, 0, 12)
	attributes = append(attributes,
		slog.String("method", knownMethod(x.r.Method)),
		slog.String("route", x.route.path),
		slog.Int("status", x.status),
		slog.Int64("duration_us", elapsed.Microseconds()),
		slog.String("request_id", x.id))
	if name := x.callerShown(); name != "" {
		attributes = append(attributes, slog.String("caller", name), slog.String("caller_method", x.caller.Method))
	}
	if x.decision != nil {
		attributes = append(attributes, slog.String("decision_id", x.decision.ID), slog.Bool("allow", x.decision.Allow))
	}
	if traceID, spanID := trace(x.r.Header["Traceparent"]); traceID != "" {
		attributes = append(attributes, slog.String("trace_id", traceID), slog.String("parent_id", spanID))
	}
	x.api.c.AccessLog.LogAttrs(context.Background(), slog.LevelInfo, "request", attributes...)
}

// callerShown is the caller as logs name them. Of one to whom nothing is granted, the subject is left out: anybody's token
// will do to be refused, and who that is, is no service that the configuration names.
func (x *exchange) callerShown() string {
	if x.grant == nil && x.caller.Method == "bearer" {
		issuer, _, _ := strings.Cut(x.caller.Name, " ")
		return issuer
	}
	return x.caller.Name
}

// knownMethod is a method as logs show it: one of HTTP's (RFC 9110 section 9, RFC 5789), since a request may have any word
// in its place.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	}
	return "other"
}

// requestID takes the caller's X-Request-Id where it is one harmless word, in which neither a mail address nor a token
// fits, since logs show it; else makes one: unique across
// restarts by a random prefix, within the process by a count.
func (a *API) requestID(r *http.Request) string {
	if given := r.Header["X-Request-Id"]; len(given) == 1 && validRequestID(given[0]) {
		return given[0]
	}
	var digits [32]byte
	id := append(digits[:0], a.idPrefix...)
	return string(strconv.AppendUint(id, a.idCount.Add(1), 36))
}

func validRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID || strings.Contains(id, "eyJ") {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', strings.IndexByte("-_.:/+=", c) >= 0:
		default:
			return false
		}
	}
	return true
}
