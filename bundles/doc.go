// Package bundles builds, signs and reads policy bundles in OPA's own format: a gzipped tar archive of Rego
// modules, data files and a manifest, with the signature in .signatures.json. What stock `opa build` and
// `opa sign` make is read here, and what is made here loads and verifies in stock OPA.
//
// A bundle is trusted for its signature alone, never for where it came from. Read believes nothing before
// that: it takes a bounded number of bytes, unpacks a bounded number, accepts plain files under plain names,
// each once, checks the signature (a JWT over the hash of every file) and each hash, and only then has
// OPA's bundle reader parse what is inside. A bundle that does not pass is a *RefusedError, which says in one word
// why. A signature says nothing about time, so the manifest's metadata does: `not_after` ends a bundle, and
// `sequence` numbers the bundles of one name; Marks keeps the highest number that was ever in force and
// refuses what lies below, so that a signed bundle of last year does not come back. Bundles without a
// sequence load, and say that nothing protects them from this.
//
// The names "tests", "modules" and "data" follow OPA: files named …_test.rego are tests and are not in force.
package bundles
