package keyset

import "time"

// IssuerHealth is how well one issuer's keys are known. It holds no key material.
type IssuerHealth struct {
	Issuer string
	Source string
	// LastSuccess is when the keys were last known to be right; zero where they never were.
	LastSuccess time.Time
	// Age is the time since then; zero where they never were.
	Age time.Duration
	// Keys counts the keys in force.
	Keys int
	// Stale tells that there are no keys because they were never loaded or are older than MaxStale.
	Stale bool
	// Error says why the last load failed or was refused; empty where it did not. WatchError says why changes
	// of the source are seen only when it is read anyway.
	Error, WatchError string
	// Skipped says which keys of the set are left out, and why.
	Skipped []string
	// RefusedRefreshes counts the unknown kids since the start that were answered without a load.
	RefusedRefreshes uint64
}

// Health tells of every issuer, in the order of the configuration.
func (s *Set) Health() []IssuerHealth {
	now := s.c.Now()
	health := make([]IssuerHealth, 0, len(s.order))
	for _, issuer := range s.order {
		trust := issuer.trust(now)
		issuer.mu.Lock()
		record := issuer.record
		issuer.mu.Unlock()
		h := IssuerHealth{
			Issuer:           issuer.Issuer.ID,
			Source:           issuer.Source.String(),
			LastSuccess:      record.lastSuccess,
			Keys:             len(trust.Keys()),
			Stale:            trust == issuer.without,
			Error:            text(record.err),
			WatchError:       text(record.watchErr),
			Skipped:          record.skipped,
			RefusedRefreshes: issuer.refused.Load(),
		}
		if !record.lastSuccess.IsZero() {
			h.Age = now.Round(0).Sub(record.lastSuccess)
		}
		health = append(health, h)
	}
	return health
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
