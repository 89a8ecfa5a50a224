// Package token turns the compact bytes of a JSON Web Token into a decoded, decrypted and verified
// pdp.Token, or into the reason why not.
//
// Examination goes one way and stops at the first thing that is wrong: size, compact form, strict
// base64url and JSON, header, decryption, issuer, algorithm, key, signature. Nothing that a token says
// chooses how it is verified: the issuer's configuration says which algorithms are allowed, "kid" only
// selects among the keys that the issuer already publishes, and header "alg", the key's own "alg" or type
// and that list must agree (RFC 8725 section 3.1). "jku", "jwk", "x5u" and "x5c" are never followed.
//
// The reader is this package's own because libraries accept more than one spelling of a token: padded or
// non-canonical base64url, JSON serializations, duplicate names, data behind the payload, unknown "crit"
// (RFC 8725bis section 3.14). The mathematics of signatures are jwx's, each with one explicit algorithm
// and one explicit key; of PSS the standard library's, since jwx v2 does not look at the salt.
//
// Verified tokens are cached by the SHA-256 of all their bytes. A hit is not believed as it is: it is held
// against the trust of this moment (issuer, algorithm, key by thumbprint), and the decider checks time and
// revocation for every decision. So eviction only frees memory, and a key that is withdrawn is withdrawn
// from cached tokens too. An expired token stays until it is pushed out: a client that repeats it gets its
// denial without a signature being checked again. Failures are not cached: an attacker has endless many, and
// each would push out somebody's good token.
package token
