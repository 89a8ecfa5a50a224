// Package ledger is the log on disk that audit records are appended to: a Merkle tree (RFC 6962 hashing, by
// golang.org/x/mod/sumdb/tlog) whose leaves are the records, so that what was once covered by a signed checkpoint
// can be neither altered nor removed, reordered or added to without being found.
//
// # How it writes
//
// One goroutine commits. Whoever calls Append adds a line to the batch that waits; the goroutine takes the batch,
// writes it with one write and makes it durable with one fdatasync, and all whose records are in it return
// together. While one batch is being synced the next one fills, so the more callers wait the more of them share a
// sync, and nobody waits for a timer. An index is given when the batch is on disk and not before: a batch that
// failed leaves no hole. After a failed write or sync the file is opened anew and cut back to the last byte that
// is known to be durable, because Linux reports a failed write-back once and then calls the lost pages clean.
//
// # What is on disk
//
//	segments/<first index>.log       the records, one a line: leaf hash (base64), a blank, the JSON
//	segments/<first index>.log.zst   the same, sealed and compressed
//	segments/<first index>.seal      what a sealed segment holds, and the tree's right edge behind it
//	tile/…                           the tree in the layout of C2SP tlog-tiles; derived, made again from the segments
//	checkpoints                      every signed checkpoint, one JSON object a line: {"time", "note"}
//	checkpoint                       the newest of them, as C2SP tlog-tiles serves it
//	index/                           columns for queries, of package index; derived
//	inbox/                           records left by commands while a server holds the lock
//	torn/                            tails that recovery cut off
//	lock                             held by the one writer
//
// Only the segments, the seals and the checkpoints are made durable in the way of a commit. README.md beside this
// file's parent says what recovery and retention do with them.
//
// # Why not tessera
//
// transparency-dev/tessera's POSIX log was measured beside this one (README.md has the ratio). It answers an add
// when the entry is integrated into tiles, on a timer; a decision waits for exactly one fdatasync here, its record is
// a line that grep and jq read, and whole segments can go when their time is over while proofs stay possible.
package ledger
