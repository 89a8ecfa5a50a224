// Package masking asks policy what may be written of a decision into the audit log.
//
// Two documents of the revision in force say so. data.assay.audit.mask names the claims and the parts of the request
// that may be written, plain or as pseudonyms, and nothing else may be. data.system.log.mask, where a bundle has it, is
// what OPA's own decision log is masked by: rules that a policy's author knows from there take away more. They are
// compiled with the policy, from the same bundles, so that a bundle and its masks go into force together.
//
// Masking fails closed. A mask that is undefined, conflicting, misshapen, late or whose evaluation fails in any other
// way is an error, and the caller then writes nothing that a mask could have cleared. OPA's own plugin drops the whole
// event in the one half of these cases and writes everything in the other; data.system.log.drop has no effect here, since
// a log without the record proves nothing.
//
// An upsert of system.log.mask takes away, like a removal, and puts nothing in the place: what a rule computes from a
// claim is as personal as the claim. Its paths are JSON pointers (RFC 6901); a percent-encoded name, as OPA wants them,
// takes away what it stands for too.
//
// A mask is remembered with the verified token that it is about, and used again where everything else that the two
// documents depend on is the same, as verdicts are.
package masking
