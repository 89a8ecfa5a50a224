// Package privacy holds a test of one promise: that Assay writes nothing personal down.
//
// It serves with the real program, sends requests in which every place that a stranger or a person can fill holds a mark
// of its own, and then searches everything that was written, the audit log with its sealed segments, the revocations, the
// program's own log and its metrics, for the marks in every usual encoding, and for the tokens and their parts. That the
// search can find is shown by a mask that clears everything.
package privacy
