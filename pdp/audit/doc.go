// Package audit writes down every decision and every change, and nothing that a privacy law or an attacker could make
// anybody regret.
//
// A record is one JSON object in the shape of OPA's decision-log events (Event). What goes into it is decided from the
// outside in: the raw token, the signature, claims of an unverified token and messages never; a verified claim, a path,
// an address or the request's context only if the mask (Masker) clears or pseudonymises it; what an attacker can
// choose freely (kid, typ, alg) only if Assay knows the text already; what a rule names only if the policy says that
// name (pdp.Words), or if it is one of the token's. A mask that fails clears nothing and the record says so: the record is
// neither dropped nor does it leak. Identifiers become keyed hashes whose key belongs to a period (Pseudonyms).
//
// Records go to a Log; pdp/audit/ledger is the one that is tamper-evident. Recorder is both pdp.Recorder and
// pdp.ChangeRecorder.
package audit
