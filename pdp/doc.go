// Package pdp is the core of a policy decision point for JSON Web Tokens: what is asked (Request),
// what was found out (Token, Verification, Revocation, together Facts), what is answered (Decision
// with its Reasons), and the one way from question to answer (Decider.Decide).
//
// The way of a request is a straight line. Examine decodes and verifies the compact bytes; Lookup
// says whether anything about the token is revoked; Evaluate asks the policy; the floor, which no
// policy can lift, adds its own denies; Record writes the decision down. Each step is an interface of
// one method, implemented by a package below this one that imports this package and none of its
// siblings. A bad token is never an error: it is a reasoned deny. An error means that no decision
// could be made, and the caller must treat it as a refusal.
//
// The zero value of everything that could allow is a deny.
package pdp
