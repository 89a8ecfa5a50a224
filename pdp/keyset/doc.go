// Package keyset knows which public keys each issuer publishes now.
//
// Every issuer has one Source: a JWKS file, a JWKS URL, an OpenID Provider's discovery document, or a
// function (the Vault keyring). A Set keeps what each source last gave as an immutable *pdp.Trust behind an
// atomic pointer, so that Trust, which is asked for every token, takes no lock and never waits for a
// network. Sources are read beside it: at the start, on a schedule that the source names, when a source
// notices a change, and when a token names a kid that is not in the set (Refresh).
//
// A load takes effect as a whole or not at all. What is malformed, holds a private key, has one kid or
// one key twice, or a key that another issuer already has, is refused and reported, and the last good keys
// stay. A source may say in advance when keys end; from that tick of the clock on they verify nothing, without a
// load. Good keys stay up to MaxStale after they were last known to be right; then the issuer has no keys.
//
// Refresh is reachable by anyone who can send a token, so it is bounded: all who wait share one load,
// one load per issuer may start in each MinRefreshInterval whatever kids are asked for, and when too
// many wait already the current keys are the answer at once.
//
// Why not jwk.Cache of jwx: it fetches without a timeout or a size limit, blocks readers while it
// fetches, knows no unknown kid and keeps stale keys for ever.
package keyset
