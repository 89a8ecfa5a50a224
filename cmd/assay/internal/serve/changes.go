package serve

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp"
)

// changeLog records changes as structured events of the service's log, at level info: a log_level above that drops
// them. What a change is about is not in them: a service's log is no place for a person's identifier,
// nor for a revocation's key, which is a bare hash of it that anybody can make who guesses it.
type changeLog struct{ log *slog.Logger }

// RecordChange implements pdp.ChangeRecorder.
func (l changeLog) RecordChange(ctx context.Context, c pdp.Change) error {
	attributes := []slog.Attr{slog.String("kind", string(c.Kind)), slog.Time("at", c.At)}
	if c.Kind != pdp.TokenIssued && !ofAPerson(c.About.Kind) { // an issued token's target is its own identifier
		attributes = append(attributes, slog.String("target", c.Target))
	}
	actor := c.Actor.Name
	if issuer, _, bearer := strings.Cut(actor, " "); bearer && c.Kind == pdp.AccessRefused { // anybody's token will do for that
		actor = issuer
	}
	for _, given := range [...]struct {
		name, value string
		words       bool // somebody's own, who may name a person
	}{
		{"request_id", pdp.OriginOf(ctx).RequestID, true}, {"actor", actor, false}, {"actor_method", c.Actor.Method, false},
		{"reason", c.Reason, true}, {"ticket", c.Ticket, true},
	} {
		if given.words && (strings.Contains(given.value, "@") || mentions(given.value, c.About)) {
			given.value = "(left out: it may name a person)"
		}
		if given.value != "" {
			attributes = append(attributes, slog.String(given.name, given.value))
		}
	}
	if len(c.Details) > 0 {
		attributes = append(attributes, slog.Any("details", withoutPersons(c.Details, c.About)))
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, "change recorded", attributes...)
	return nil
}

// ofAPerson tells whether identifiers of a kind can be those of somebody.
func ofAPerson(kind string) bool { return kind == "subject" || kind == "session" || kind == "token" }

// mentions tells whether a text holds what a change is about, in whichever case. What is shorter than three letters is in
// every text.
func mentions(text string, about pdp.About) bool {
	return ofAPerson(about.Kind) && len(about.Value) >= 3 && strings.Contains(strings.ToLower(text), strings.ToLower(about.Value))
}

// withoutPersons leaves out what holds the identifier that a change is about, or may hold a mail address: an audience or a
// client can be called anything.
func withoutPersons(details map[string]any, about pdp.About) map[string]any {
	names := func(s string) bool { return strings.Contains(s, "@") || mentions(s, about) }
	holds := func(value any) bool {
		switch v := value.(type) {
		case string:
			return names(v)
		case []string:
			return slices.ContainsFunc(v, names)
		}
		return false
	}
	kept := make(map[string]any, len(details))
	for name, value := range details {
		if !holds(value) {
			kept[name] = value
		}
	}
	return kept
}

// bothChanges records changes in the audit log, and tells of them in the service's log where that succeeded.
type bothChanges struct {
	recorder pdp.ChangeRecorder
	log      changeLog
}

// RecordChange implements pdp.ChangeRecorder.
func (b bothChanges) RecordChange(ctx context.Context, c pdp.Change) error {
	if err := b.recorder.RecordChange(ctx, c); err != nil {
		return err
	}
	return b.log.RecordChange(ctx, c)
}
