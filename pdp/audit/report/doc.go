// Package report turns a period of the audit log into the document that an auditor asks for: for each control of a
// framework, which rules served it and what they found; and what an auditor asks beside it: trends, lifetimes,
// algorithms, keys against their plan, revocations and how fast they took effect, changes, waivers, the proof that
// nothing was removed, and where the evidence has gaps.
//
// The rows of the index pass once through a Builder, which keeps counters only: its memory grows with the number of
// rules, days, issuers and changes, never with that of decisions, and names past a bound are counted under one
// entry that says so. What a row does not hold (who changed what, and why) is read from the record itself, for
// changes alone.
//
// Every number is a Figure: it carries the command that lists the records behind it, so that the reader need not
// believe the report. Report is plain data, for JSON; WriteHTML makes of it one page without scripts or anything
// fetched, in which each recorded text, whoever wrote it, is only ever text.
//
// Nothing is made to look better than it is. A control that no rule serves is listed as unserved; what was not
// verified in this run is called so; what records cannot tell stands under Limits.
package report
