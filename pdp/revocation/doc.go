// Package revocation knows what is revoked: an index in memory that a decision asks without a network call,
// and the NATS JetStream stream that feeds the index of every replica.
//
// An Entry revokes one token, or all tokens of a subject, client, session, key or issuer. To revoke is to
// append a message to one stream. The server acknowledges it once it is stored (by a majority of the
// stream's replicas in a cluster, fsynced where the server is embedded), every replica reads the stream in
// order and applies what it reads to its Index, and Publish returns only when the publishing replica has read
// its own message back. So "published" means: it is stored, and every decision here whose lookup starts
// later sees it.
//
// Freshness is proven, not assumed. A replica appends heartbeats to the same stream and reads them back like
// everything else. Because a stream has one order, a heartbeat that came back proves that everything
// acknowledged before it was sent has been applied here. The time since that sending, on the monotonic clock,
// is the age of the index: no wall clock and no other machine's clock takes part.
//
// The index holds no entries, only 16-byte keyed hashes of what is revoked beside two dates and a position in the
// stream, without a pointer, so that ten million entries cost the garbage collector nothing. Whoever lists
// entries reads them from the stream by those positions.
//
// Entries end by themselves: in the stream by a time to live of their own message, in the index because
// lookup compares the end with the clock that also judges the token's exp.
package revocation
