package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/vaultkeys/notary"
)

// auditSubject finds one person. What stands in the log is a pseudonym, another one in each period and with each
// issuer; whoever may have the periods' keys can make them from what the person is called in tokens.
type auditSubject struct{ value string }

func addSubject(cmd *cobra.Command) *auditSubject {
	s := &auditSubject{}
	cmd.Flags().StringVar(&s.value, "subject", "", `only the subject that tokens call so ("sub"); - reads it from standard input. The keys of pseudonyms are had from Vault, so it needs --config and the role notary, or VAULT_TOKEN`)
	return s
}

// mostPeriods is how many keys one question asks Vault for at most.
const mostPeriods = 400

// find puts the subject's pseudonyms into the query. Nothing that it prints names the subject.
func (s *auditSubject) find(ctx context.Context, e env, place *auditPlace, reader *ledger.Reader, q *index.Query) error {
	if s.value == "" {
		return nil
	}
	value := s.value
	if value == "-" {
		text, err := io.ReadAll(io.LimitReader(e.in, 4096))
		if err != nil {
			return err
		}
		value = strings.TrimRight(string(text), "\r\n")
	}
	if value == "" {
		return errors.New("--subject -: standard input names no subject")
	}
	if place.config == "" {
		return errors.New("--subject needs --config: in the log stand pseudonyms, and their keys are had from Vault")
	}
	c, err := readConfig(place.config)
	if err != nil {
		return err
	}
	if c.Audit.Pseudonyms.Key == "" {
		return fmt.Errorf("%s has no audit.pseudonyms.key: subjects are erased from its log and nobody can be found", place.config)
	}
	client, err := clientOf(e, c, c.Vault.Roles.Notary)
	if err != nil {
		return err
	}
	if c.Vault.Roles.Notary != nil {
		defer func() { _ = client.Close(context.WithoutCancel(ctx)) }() // a login that is not given back expires by itself
	}
	keys, err := notary.NewPeriods(notary.PeriodsConfig{Vault: client, Key: c.Audit.Pseudonyms.Key, Now: e.now})
	if err != nil {
		return err
	}
	moments, err := s.moments(audit.Period(c.Audit.Pseudonyms.Period), e.now(), reader, q)
	if err != nil {
		return err
	}
	issuers := issuersAsked(c, q)
	if len(issuers) == 0 {
		return fmt.Errorf("%s has no issuers: say with --issuer whose subject it is", place.config)
	}
	for _, at := range moments {
		names, err := pseudonymsAt(ctx, keys, audit.Period(c.Audit.Pseudonyms.Period), at, issuers, value)
		if errors.Is(err, notary.ErrForgotten) {
			_, _ = fmt.Fprintf(e.err, "the key of %s is gone: in that period nobody can be found any more\n", audit.Period(c.Audit.Pseudonyms.Period).Label(at))
			continue
		}
		if err != nil {
			return err
		}
		q.Subjects = append(q.Subjects, names...)
	}
	if q.Subjects == nil {
		return errors.New("no key is left of any period that was asked about")
	}
	return nil
}

// moments gives a moment of each period that the query touches and the log reaches.
func (s *auditSubject) moments(period audit.Period, now time.Time, reader *ledger.Reader, q *index.Query) ([]time.Time, error) {
	segments, err := reader.Segments()
	if err != nil {
		return nil, err
	}
	at, end := q.From, now
	for _, segment := range segments {
		if first := segment.FirstTime; !first.IsZero() {
			if at.Before(first) {
				at = first
			}
			break
		}
	}
	if !q.To.IsZero() && q.To.Before(end) {
		end = q.To
	}
	var moments []time.Time
	for !at.IsZero() && at.Before(end) {
		if moments = append(moments, at); len(moments) > mostPeriods {
			return nil, fmt.Errorf("that is more than %d periods, each with a key of its own: narrow it with --from and --to", mostPeriods)
		}
		at = period.Next(at)
	}
	if moments == nil {
		return nil, errors.New("nothing was recorded in the time asked about, so nobody can be found")
	}
	return moments, nil
}

// issuersAsked are those whose subject it may be.
func issuersAsked(c *config.Config, q *index.Query) []string {
	if q.Issuer != "" {
		return []string{q.Issuer}
	}
	var issuers []string
	for i := range c.Issuers {
		issuers = append(issuers, c.Issuers[i].Issuer)
	}
	return issuers
}

// pseudonymsAt makes the pseudonyms of one period as the recorder did.
func pseudonymsAt(ctx context.Context, keys audit.PeriodKeys, period audit.Period, at time.Time, issuers []string, value string) ([]string, error) {
	keyed, err := audit.NewKeyed(audit.KeyedConfig{Keys: only{keys, period.Label(at)}, Period: period, Now: func() time.Time { return at }})
	if err != nil {
		return nil, err
	}
	loaded := keyed.Load(ctx)
	var names []string
	for _, issuer := range issuers {
		if name := keyed.Pseudonym(at, "sub", issuer, value); name != "" {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil, loaded
	}
	return names, nil
}

// only asks for the key of one period: Keyed also wants the next one's shortly before it begins.
type only struct {
	audit.PeriodKeys
	period string
}

// PeriodKey implements audit.PeriodKeys.
func (o only) PeriodKey(ctx context.Context, period string) ([]byte, int, error) {
	if period != o.period {
		return nil, 0, errors.New("not asked about")
	}
	return o.PeriodKeys.PeriodKey(ctx, period)
}
