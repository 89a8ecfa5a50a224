package httpapi

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/assaypdp/assay/pdp"
)

//go:embed openapi.json
var description []byte

// decide serves POST /decide.
func (x *exchange) decide() error {
	body, err := x.read()
	if err != nil {
		return err
	}
	request := x.asking()
	x.decoder.reset(body)
	if err := x.decoder.decide(request); err != nil {
		return err
	}
	return x.decided(request, appendDecision)
}

func appendDecision(dst []byte, d *pdp.Decision) ([]byte, error) { return d.AppendJSON(dst) }

// asking is the beginning of a request for a decision: who asks, and under which ids it is found again.
func (x *exchange) asking() *pdp.Request {
	request := &pdp.Request{Caller: x.caller, ID: x.id}
	request.TraceID, request.SpanID = trace(x.r.Header["Traceparent"])
	return request
}

// decided answers a request for a decision, if the caller may ask it, in the way that is given. On a connection that can hold the
// answer back, nothing waits for its record here.
func (x *exchange) decided(request *pdp.Request, answer answerer) error {
	if err := x.grant.allow(request, ""); err != nil {
		return err
	}
	promised, err := x.promise(request)
	if err != nil {
		return x.api.undecided(x, err)
	}
	if promised.Waits {
		x.hold(promised, answer)
	}
	return x.answered(promised.Decision, answer)
}

func (x *exchange) answered(decision *pdp.Decision, answer answerer) error {
	body, err := answer(x.out[:0], decision)
	if err != nil {
		return err
	}
	x.decision = decision
	x.w.Header()["Cache-Control"] = noStore
	x.write(http.StatusOK, "application/json", body)
	return nil
}

// Header values that most answers share. They are never changed.
var (
	noStore  = []string{"no-store"}
	jsonType = []string{"application/json"}
)

// decideBatch serves POST /decide/batch: all items are read and granted before any is decided.
func (x *exchange) decideBatch() error {
	body, err := x.read()
	if err != nil {
		return err
	}
	x.decoder.reset(body)
	requests, err := x.decoder.batch(x.api.c.MaxBatch)
	if err != nil {
		return err
	}
	traceID, spanID := trace(x.r.Header["Traceparent"])
	for i := range requests {
		requests[i].Caller, requests[i].ID, requests[i].TraceID, requests[i].SpanID = x.caller, x.id, traceID, spanID
		if err := x.grant.allow(&requests[i], "items["+strconv.Itoa(i)+"]: "); err != nil {
			return err
		}
	}
	decisions, err := x.decideAll(requests)
	if err != nil {
		return x.api.undecided(x, err)
	}
	answer := append(x.out[:0], `{"items":[`...)
	for i, decision := range decisions {
		if i > 0 {
			answer = append(answer, ',')
		}
		x.api.metrics.decided(decision)
		if answer, err = decision.AppendJSON(answer); err != nil {
			return err
		}
	}
	x.w.Header()["Cache-Control"] = noStore
	x.write(http.StatusOK, "application/json", append(answer, ']', '}'))
	return nil
}

// decideAll decides in parallel. The batch holds one place in flight already; a helper starts only where
// another place is free at once, so that batches never make more work than MaxInFlight, nor wait for each
// other. The first error ends it: a batch is answered as a whole or not at all.
func (x *exchange) decideAll(requests []pdp.Request) ([]*pdp.Decision, error) {
	a := x.api
	decisions := make([]*pdp.Decision, len(requests))
	ctx, cancel := context.WithCancelCause(x.ctx)
	defer cancel(nil)
	var next atomic.Int64
	work := func() {
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(requests) {
				return
			}
			decision, err := decideOne(ctx, a.c.Decider, &requests[i])
			if err != nil {
				cancel(err)
				return
			}
			decisions[i] = decision
		}
	}
	var helpers sync.WaitGroup
	for range min(len(requests), batchWorkers) - 1 {
		select {
		case a.places <- struct{}{}:
			helpers.Go(func() {
				defer func() { <-a.places }()
				work()
			})
			continue
		default:
		}
		break
	}
	work()
	helpers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return decisions, nil
}

// errPanicked stands for a panic in a batch's helper, which no deferred function of the request would see.
var errPanicked = errors.New("a decision panicked")

func decideOne(ctx context.Context, d Decider, r *pdp.Request) (decision *pdp.Decision, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = errors.Join(errPanicked, errors.New(faultName(fault)))
		}
	}()
	return d.Decide(ctx, r)
}

// issue serves POST /tokens.
func (x *exchange) issue() error {
	body, err := x.read()
	if err != nil {
		return err
	}
	var order TokenOrder
	x.decoder.reset(body)
	if err := x.decoder.order(&order); err != nil {
		return err
	}
	if err := x.grant.allowOrder(&order); err != nil {
		return err
	}
	issued, err := x.api.c.Issuer.Issue(x.ctx, x.caller, order)
	if err != nil {
		return x.unissued(err)
	}
	answer := append(x.out[:0], `{"token":`...)
	answer = appendString(answer, issued.Token)
	for _, member := range [...]struct{ name, value string }{
		{`,"token_type":`, string(issued.TokenType)}, {`,"issuer":`, issued.Issuer},
		{`,"key_id":`, issued.KeyID}, {`,"token_id":`, issued.TokenID},
	} {
		answer = appendString(append(answer, member.name...), member.value)
	}
	if issued.EncryptionKeyID != "" {
		answer = appendString(append(answer, `,"encryption_key_id":`...), issued.EncryptionKeyID)
	}
	answer = append(answer, `,"expires_at":`...)
	answer = append(strconv.AppendInt(answer, issued.ExpiresAt.Unix(), 10), '}')
	x.w.Header()["Cache-Control"] = noStore
	x.write(http.StatusCreated, "application/json", answer)
	return nil
}

func (x *exchange) unissued(err error) error {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		p := problemf(tokenRefused, "a decision about this token would deny it: %s", denyingCodes(refused.Reasons))
		p.reasons = refused.Reasons
		return p
	}
	if order, ok := errors.AsType[*OrderError](err); ok {
		return problemf(invalidValue, "%s: %s", order.Field, order.Detail).at(jsontext.Pointer("").AppendToken(order.Field))
	}
	if down, ok := errors.AsType[*UnavailableError](err); ok {
		p := problemf(issuingUnavailable, "the signing keys cannot be reached; ask again").
			retry(max(1, int((down.RetryAfter+time.Second-1)/time.Second)))
		p.cause = down
		return p
	}
	return x.api.undecided(x, err)
}

// taggedKeySet remembers the entity tag of the document last served.
type taggedKeySet struct {
	document *KeySetDocument
	tag      string
	control  string
}

// jwks serves GET /.well-known/jwks.json (RFC 7517 section 8.5; RFC 9110 section 13.1.2).
func (x *exchange) jwks() error {
	document := &KeySetDocument{Body: []byte(`{"keys":[]}`)}
	if x.api.c.KeySet != nil {
		if document = x.api.c.KeySet(); document == nil {
			return problemf(unavailable, "the keys have not been read yet").retry(retryAfter)
		}
	}
	tagged := x.api.keySet.Load()
	if tagged == nil || tagged.document != document {
		sum := sha256.Sum256(document.Body)
		age := orDefault(document.MaxAge, defaultJWKSMaxAge)
		tagged = &taggedKeySet{
			document: document, tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`,
			control: "public, max-age=" + strconv.FormatInt(int64(age/time.Second), 10),
		}
		x.api.keySet.Store(tagged)
	}
	h := x.w.Header()
	h.Set("ETag", tagged.tag)
	h.Set("Cache-Control", tagged.control)
	if matches(x.r.Header.Values("If-None-Match"), tagged.tag) {
		x.status = http.StatusNotModified
		x.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	x.write(http.StatusOK, "application/jwk-set+json", append(x.out[:0], document.Body...))
	return nil
}

// matches compares weakly (RFC 9110 section 8.8.3.2).
func matches(fields []string, tag string) bool {
	for _, field := range fields {
		for candidate := range strings.SplitSeq(field, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// live serves GET /livez: the process answers.
func (x *exchange) live() error { return x.report(http.StatusOK, "ok", nil) }

// ready serves GET /readyz: 503 only where no correct decision can be made, or none is wanted any more.
func (x *exchange) ready() error {
	var health Health
	if x.api.c.Health != nil {
		health = x.api.c.Health()
	}
	switch {
	case x.api.draining.Load():
		return x.report(http.StatusServiceUnavailable, "shutting down", health.Causes)
	case health.Failing:
		return x.report(http.StatusServiceUnavailable, "failing", health.Causes)
	case len(health.Causes) > 0:
		return x.report(http.StatusOK, "degraded", health.Causes)
	}
	return x.report(http.StatusOK, "ok", nil)
}

func (x *exchange) report(code int, status string, causes []string) error {
	answer := append(x.out[:0], `{"status":`...)
	answer = appendString(answer, status)
	answer = append(answer, `,"causes":[`...)
	for i, cause := range causes {
		if i > 0 {
			answer = append(answer, ',')
		}
		answer = appendString(answer, cause)
	}
	x.w.Header()["Cache-Control"] = noStore
	x.write(code, "application/json", append(answer, ']', '}'))
	return nil
}

// exposition serves GET /metrics, as OpenMetrics to those who accept it.
func (x *exchange) exposition() error {
	x.status = http.StatusOK
	x.api.metrics.handler.ServeHTTP(x.w, x.r)
	return nil
}

// openapi serves the description of this API.
func (x *exchange) openapi() error {
	x.w.Header().Set("Cache-Control", "public, max-age=300")
	x.write(http.StatusOK, "application/openapi+json", append(x.out[:0], description...))
	return nil
}
