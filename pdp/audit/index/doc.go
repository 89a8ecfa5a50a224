// Package index answers questions about the audit log without reading all of it: which records of a time, a kind, a
// reason, an issuer, a client, an audience, a caller or a decision id there are, and what a report counts of them.
//
// # What an index is, and what it is not
//
// Every sealed segment of the log gets a file beside it, index/<first index>.idx, that holds a few members of its
// records as columns. It is derived from the segment alone, by whoever first needs it, and may be deleted at any
// time. It is never evidence: nothing signs it, no checkpoint covers it, and whoever may write the folder may write
// it. It is bound to its segment, so that one left from another segment, damaged, or of an older version is noticed
// and built again, and each record that is read by way of it is compared with its row; but a forger who keeps to the
// form can hide rows. What must be proven is read from the segments and proven by the ledger; Query.Unindexed reads
// records only.
//
// # Why columns of its own
//
// A question is "which rows have these values", over months; the log itself answers everything else. So a file is
// read whole, checked by one checksum, and its dictionaries say before a row is looked at whether the segment can have
// what is asked for; what is left is a loop over small integers. The file is written once, by a rename, beside a server that
// knows nothing of it. An embedded database (SQLite, bbolt) would bring locks and a journal between processes, a copy
// of the log that can disagree with it row by row, and for SQLite ten megabytes of program; Parquet's readers bring
// codecs and a schema for what is 300 lines here. The row is 40 bytes, half of them the random part of the decision's id.
//
// README.md in the folder above has the figures for a million records, and the command that takes them again.
package index
