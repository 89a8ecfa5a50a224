// Package policy is the embedded Open Policy Agent: it compiles Rego modules and configuration into a
// Revision, and evaluates data.assay.decision on the facts of one request.
//
// A Revision is everything that a verdict depends on beside the facts: modules, data, configuration and
// the capabilities that the modules were compiled with. It is built aside and never changes; Engine swaps
// one pointer, so that no verdict mixes two revisions. Policy is pure: builtins that read a clock, random
// numbers or the network do not exist for it, so the same facts give the same verdict.
//
// Evaluation goes to OPA's evaluator directly, with an input that is built as the evaluator's own values, and
// from which members that no module reads are left out. The result is read straight from the evaluator's
// values, strictly: whatever is not exactly a decision is a deny with policy.undefined.
//
// A verdict about a verified token is remembered with the token for the second that it was given in, or until
// the second up to which the library says that it does not change. It is used again only if everything else
// that the modules read is the same, which is known from the modules themselves: every path below input that
// they mention. A module that takes input as a whole switches this off. What is remembered lives and dies with
// the token, and its memory is bounded with that of the verified-token cache.
package policy
