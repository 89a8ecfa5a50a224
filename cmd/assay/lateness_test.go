package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
)

// patience is how long the tests wait for what has to come to pass, on however slow a machine.
const patience = 3 * time.Minute

// What the tests of rotation assert holds of replicas that read Vault's records as often as the periods say: each has
// to know a version before another signs with it. A machine that is too busy to let a replica run, or Vault answer, in
// that time proves nothing about them. So the tests follow how old the records are that each replica goes by, as it tells
// in its metrics, and blame none for what one that was late could not know.

// hasRead remembers when a replica has read its records.
func (s *served) hasRead(at time.Time) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	s.read = at
}

// look asks a replica how old its records are.
func (f *fleet) look(ctx context.Context, replica int) {
	s := f.served[replica]
	s.mu.RLock()
	defer s.mu.RUnlock()
	asked := time.Now() // the ages are of a moment after that
	oldest, err := oldestRecord(ctx, s.base)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		f.problem("asking for the metrics: %v", err)
	default:
		s.readMu.Lock()
		if now := time.Now(); !s.read.IsZero() && now.Sub(s.read) > f.ahead/2 {
			s.wasLate = now
		}
		s.readMu.Unlock()
		s.hasRead(asked.Add(-oldest))
	}
}

func oldestRecord(ctx context.Context, base string) (oldest time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // read below
	known := false
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasPrefix(name, "assay_key_read_age_seconds{") {
			continue
		}
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		known, oldest = true, max(oldest, time.Duration(seconds*float64(time.Second)))
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !known {
		return 0, fmt.Errorf("status %d, and no age of a record", response.StatusCode)
	}
	return oldest, nil
}

// late tells whether a replica may have gone by records so old at a moment that it did not know every version which
// others have signed with by then, and what it then published is kept for so long.
func (f *fleet) late(replica int, at time.Time, kept time.Duration) bool {
	s := f.served[replica]
	s.readMu.Lock()
	defer s.readMu.Unlock()
	return at.Sub(s.read) > f.ahead-kept
}

// lateLately tells whether a replica was late at a moment, or half as much a while before. The metrics tell nothing of the
// keys that tokens are encrypted to, which are read beside the others.
func (f *fleet) lateLately(replica int, at time.Time) bool {
	s := f.served[replica]
	s.readMu.Lock()
	before := !s.wasLate.IsZero() && at.Sub(s.wasLate) < 3*f.ahead
	s.readMu.Unlock()
	return before || f.late(replica, at, f.ahead/2)
}

// leastAhead is the least time that a version is published before it signs.
func leastAhead(c *config.Config) (least time.Duration) {
	for name := range c.Vault.Keys {
		if ahead := c.Periods(name).PublishAhead; least == 0 || ahead < least {
			least = ahead
		}
	}
	return least
}

// onTime asks a replica something that it has to say yes to, unless it was late when it was asked; then it is asked again.
func (f *fleet) onTime(replica int, ask func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		f.look(f.t.Context(), replica)
		asked := time.Now()
		switch {
		case ask():
			return
		case !f.late(replica, asked, 0):
			f.t.Errorf("replica %d was not late when it said no", replica)
			return
		case asked.After(deadline):
			f.t.Fatalf("replica %d never was on time", replica)
		}
	}
}
