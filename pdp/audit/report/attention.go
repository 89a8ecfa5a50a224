package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The levels of Attention.
const (
	Problem = "problem"
	Notice  = "notice"
)

// soonEnds is how many days before its end a waiver is told.
const soonEnds = 14

// attention lists what a reader should look into, problems first.
func attention(r *Report) []Attention {
	list := []Attention{}
	say := func(level, section, format string, args ...any) {
		list = append(list, Attention{Level: level, Section: section, Text: fmt.Sprintf(format, args...)})
	}
	ofIntegrity(r, say)
	ofControls(r, say)
	ofKeys(r, say)
	ofChanges(r, say)
	ofEvidence(r, say)
	slices.SortStableFunc(list, func(x, y Attention) int { return strings.Compare(y.Level, x.Level) }) // "problem" before "notice"
	return list
}

type sayer func(level, section, format string, args ...any)

func ofIntegrity(r *Report, say sayer) {
	switch r.Integrity.State {
	case Verified:
		switch last, end := r.Integrity.Last, r.Evidence.Last; {
		case end != nil && (last == nil || last.Size <= end.Index):
			say(Notice, "integrity", "No checkpoint covers the last records of the period yet: of those nobody signed what they were.")
		}
	case Damaged:
		say(Problem, "integrity", "The verification of the log found %s: what follows rests on records that are not proven.", plural(int64(len(r.Integrity.Findings)), "fault"))
	case Consistent:
		say(Notice, "integrity", "The signatures of checkpoints were not checked: whoever can write the log's folder could have made them anew.")
	default:
		say(Notice, "integrity", "The log was not verified in this run: that nothing was altered or removed is not shown here.")
	}
}

func ofControls(r *Report, say sayer) {
	for _, c := range r.Controls {
		if c.Served == "no" {
			say(Problem, "controls", "Nothing serves %s (%s).", c.ID, c.Text)
		}
		for _, rule := range c.Rules {
			if slices.Equal(rule.GivenBy, []string{"not in this catalogue"}) {
				say(Notice, "controls", "%s was given for %s by a rule that this catalogue does not know; a bundle may have had it.", rule.Code, c.ID)
			}
		}
	}
	for _, w := range r.Waivers.Configured {
		switch {
		case w.State == "expired":
			say(Notice, "waivers", "The waiver of %s (%s) ended on %s and is still configured; it does nothing.", w.Rule, w.Ticket, w.Until)
		case w.State != "open":
			say(Problem, "waivers", "The waiver of %s (%s) has no readable end; it does nothing.", w.Rule, w.Ticket)
		case w.DaysLeft < soonEnds:
			say(Notice, "waivers", "The waiver of %s (%s) ends on %s: what it covers is denied from then on.", w.Rule, w.Ticket, w.Until)
		}
	}
}

func ofKeys(r *Report, say sayer) {
	for _, k := range r.Keys.Planned {
		switch k.Verdict {
		case Late:
			say(Problem, "keys", "Key %s went %s without a rotation; its plan says %s.", k.Name, days(k.LongestSeconds), days(k.RotateEverySeconds))
		case NotTold:
			say(Notice, "keys", "The log holds no rotation of key %s, so whether it is on plan cannot be told.", k.Name)
		}
	}
	for _, v := range r.Revocations.Listed {
		if v.AllowedAfter != nil && v.AllowedAfter.Value > 0 {
			say(Problem, "revocations", "%s by a key of %s after its revocation was recorded, the last %s later.",
				plural(v.AllowedAfter.Value, "allow")+" of tokens verified", v.Issuer, seconds(*v.LastAllowedAfterSeconds))
		}
	}
}

func ofChanges(r *Report, say sayer) {
	for _, v := range r.Policy.Revisions {
		if v.Recorded < 0 {
			name := v.Revision
			if name == "" {
				name = "without a name"
			}
			say(Notice, "policy", "The log holds no change by which policy revision %s came into force.", name)
		}
	}
	if n := r.Policy.Refused.Count.Value; n > 0 {
		say(Notice, "policy", "%s refused; the policy in force before stayed.", plural(n, "bundle was", "bundles were"))
	}
	if n := r.TokensRefused.Count.Value; n > 0 {
		say(Notice, "access", "Policy refused to let %s be issued.", plural(n, "token"))
	}
	for _, list := range []Changes{r.Keys.Changes, r.Policy.Activated, r.Policy.Refused, r.Configuration, r.Access, r.TokensRefused, r.Evidence.Recovered, r.Evidence.Trimmed, r.Evidence.Lost, r.Evidence.Undelivered} {
		for _, c := range list.Listed {
			if c.Unread != "" {
				say(Problem, "evidence", "Record %d (%s): %s.", c.Index, c.Kind, strings.TrimSuffix(c.Unread, "."))
			}
		}
	}
}

func ofEvidence(r *Report, say sayer) {
	e := &r.Evidence
	if r.Totals.Judged.Value == 0 {
		say(Notice, "evidence", "The log holds no decision of this period.")
	}
	if r.GeneratedAt.Before(r.To) {
		say(Notice, "evidence", "The period had not ended when this report was made; it tells of what was recorded until %s.", r.GeneratedAt.Format(time.RFC3339))
	}
	if e.OldestKept != nil && e.OldestKept.After(r.From) && e.Trimmed.Count.Value > 0 {
		say(Problem, "evidence", "Retention removed records from before %s, within the period: what they told is not in these figures.", e.OldestKept.Format(time.RFC3339))
	}
	if e.Missing > 0 {
		say(Problem, "evidence", "Between the first and the last record of the period %s missing.", plural(e.Missing, "place is", "places are"))
	}
	if n := e.Lost.Count.Value; n > 0 {
		say(Problem, "evidence", "%s dropped in buffered mode: those decisions were answered and are not in the log.", plural(e.LostRecords, "record was", "records were"))
	}
	if n := e.Undelivered.Count.Value; n > 0 {
		say(Problem, "evidence", "%s not delivered to a destination of the log, which was given up or came too late: what is kept there is not all of it.", plural(e.UndeliveredRecords, "record was", "records were"))
	}
	if n := e.MaskFailed.Value; n > 0 {
		say(Problem, "evidence", "The mask failed for %s: nothing leaked, everything that a mask may clear was erased.", plural(n, "record"))
	}
	if n := e.Recovered.Count.Value; n > 0 {
		say(Notice, "evidence", "The log had to be mended, or could not be written for a time, %s: of what was asked then nothing that was not acknowledged is in it.", plural(n, "time"))
	}
	if len(e.Silent) > 0 {
		say(Notice, "evidence", "No record came for more than %s %s; the longest such time was %s.", seconds(float64(e.SilentOverSeconds)),
			plural(int64(len(e.Silent)), "time"), seconds(float64(e.Silent[0].Seconds)))
	}
}

// limits are sentences on what the records cannot tell, and what this report left out.
func (b *Builder) limits(r *Report) []string {
	list := []string{
		"A control's figures count what its rules found in tokens. That a rule found nothing shows that no token met it, not that the control works; " +
			"the rules' own tests show that they find what they say.",
		"Plan, waivers, limits and the catalogue of rules are those of the files that this run was given, which need not have been in force during the whole period; " +
			"findings name their controls and revision as they were when they were recorded.",
	}
	list = append(list, b.c.Notes...)
	if r.Totals.Superseding.Value > 0 {
		list = append(list, "Some tokens have two records: an allow that was recorded and never answered, since the token was found revoked meanwhile, and the deny in its place. Both are counted.")
	}
	if len(b.c.Keys) == 0 {
		list = append(list, "No configuration with signing keys was given, so rotations are listed and not compared with a plan.")
	}
	if b.c.WaiversFrom == "" {
		list = append(list, "No policy configuration was given, so which waivers are open is not told; what they covered in the period is.")
	}
	for _, w := range b.c.Waivers {
		if w.Client != "" {
			list = append(list, "What a waiver covered is counted by issuer, client and audience as recorded. Where the mask writes client_id as a pseudonym, a waiver that names a client counts nothing.")
			break
		}
	}
	if b.revocations.tooMany {
		list = append(list, fmt.Sprintf("Of denies of revoked tokens, subjects and sessions only %d records were read; for later ones it is not told which revocation they show.", readsMost))
	}
	for _, name := range slices.Sorted(maps.Keys(b.passed)) {
		if pattern, changes := strings.CutPrefix(name, "changes "); changes {
			list = append(list, fmt.Sprintf("There were too many changes %s to read them all: all are counted, the first are listed.", pattern))
			continue
		}
		list = append(list, fmt.Sprintf("There were more than %d %s: the further ones count in the totals only.", b.c.Names, name))
	}
	return list
}

// plural says how many; more is the word for any number but one, by default with an s.
func plural(n int64, one string, more ...string) string {
	switch {
	case n == 1:
		return "1 " + one
	case len(more) > 0:
		return fmt.Sprintf("%s %s", thousands(n), more[0])
	}
	return fmt.Sprintf("%s %ss", thousands(n), one)
}

// thousands writes a number with thin spaces, as ISO 80000 has it.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "\u202f" + text[at:]
	}
	return sign + text
}

// days writes a number of seconds as days and hours.
func days(s int64) string {
	if s%day == 0 {
		return plural(s/day, "day")
	}
	if s < day {
		return seconds(float64(s))
	}
	return fmt.Sprintf("%s %d h", plural(s/day, "day"), s%day/3600)
}

// seconds writes a duration with the two units that matter.
func seconds(s float64) string {
	whole := int64(s)
	switch {
	case s < 0:
		return "−" + seconds(-s)
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 60:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", s), ".0") + " s"
	case whole < 3600:
		return two(whole/60, "min", whole%60, "s")
	case whole < day:
		return two(whole/3600, "h", whole%3600/60, "min")
	}
	return two(whole/day, "d", whole%day/3600, "h")
}

func two(big int64, bigUnit string, small int64, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d %s", big, bigUnit)
	}
	return fmt.Sprintf("%d %s %d %s", big, bigUnit, small, smallUnit)
}
