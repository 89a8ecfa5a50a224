// Package audittraffic writes audit logs of traffic that never was, for the tests and measurements of whatever reads
// the log: decisions over a month, with days and nights and weekends, and the changes of such a month.
//
// Facts and decisions are made up; what becomes of them is real: they go through audit.Recorder, with a mask and
// pseudonyms, into a ledger with signed checkpoints. The same Config gives the same records with the same indexes and
// leaf hashes; where segments end depends on how the disk was.
//
// The month has a story, so that a report has something to tell. Days are counted from one:
//
//	every 7th day   the key "access" is rotated; the version before verifies for a day more
//	day 5, 14, 23   another policy bundle is in force; one was refused just before the second
//	day 5 on        tokens of more than an hour are denied; until then only warned of
//	day 9, 02:00    the revocation stream was away for an hour: revocation.feed_stale warns
//	day 11, 09:00   the mask fails for ten minutes: everything is masked
//	day 12 on       a waiver covers the long tokens of the client "legacy-batch"; it ends on day 26
//	day 16, 10:40   a key of the partner's is compromised: its tokens are revoked, and clients get new ones
//	every day       a few tokens, subjects, sessions and clients are revoked, some lifted, and some tokens of theirs come
//	                afterwards; some tokens were revoked while they were judged (supersedes)
package audittraffic
