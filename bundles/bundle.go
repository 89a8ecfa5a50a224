package bundles

import (
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Bundle is what an archive or a directory holds, after everything about it was checked. It is never changed.
type Bundle struct {
	// Name is what the configuration calls the bundle; high-water marks are kept by it.
	Name string
	// Revision is the manifest's; free text, may be empty.
	Revision string
	// Digest is "sha256:" and the hex hash over the names and bytes of all files except the signature: the same
	// before and after signing, and the same for a directory and the archive of it.
	Digest string
	// Roots are the manifest's: the paths below data that the bundle owns ("assay/rules"). A manifest without
	// roots owns everything: one root, "".
	Roots []string
	// Sequence is the manifest's metadata.sequence; 0: none.
	Sequence int64
	// NotAfter is the manifest's metadata.not_after (RFC 3339), the last moment at which the bundle may be
	// loaded; zero: none.
	NotAfter time.Time
	// Signed says that a signature was demanded and is good; KeyID is then the key that made it.
	Signed bool
	KeyID  string
	// Modules are Rego v1 texts by path inside the bundle ("assay/rules/partner/partner.rego"), tests apart.
	Modules map[string][]byte
	// Tests are the modules whose file is named …_test.rego, in the same form.
	Tests map[string][]byte
	// Data are the data files, put together: a JSON object as OPA decodes it, numbers as json.Number.
	Data map[string]any
	// Metadata is the manifest's, whole.
	Metadata map[string]any
}

// RollbackProtected says whether an older bundle under the same name could be told apart: it was signed and
// has a sequence. Without, whoever can serve bundles may serve any bundle that was ever signed.
func (b *Bundle) RollbackProtected() bool { return b.Signed && b.Sequence > 0 }

// Roots of an organisation's own bundle: rules and configuration beside the library.
const (
	RulesRoot  = "assay/rules"
	ConfigRoot = "assay/config"
)

// Roots of what may be written into the audit log: the library's own mask, which a bundle that owns it replaces, and the
// mask of OPA's decision log, which takes away more.
const (
	MaskRoot    = "assay/audit"
	LogMaskRoot = "system/log"
)

// OrganisationRoots are what a bundle owns beside the library, unless its manifest says otherwise.
func OrganisationRoots() []string { return []string{RulesRoot, ConfigRoot} }

// RootsBesideLibrary are what a bundle may own without replacing the library's judgement.
func RootsBesideLibrary() []string { return append(OrganisationRoots(), MaskRoot, LogMaskRoot) }

// Defaults of ReadConfig.
const (
	DefaultMaxBytes = 16 << 20
	DefaultMaxFiles = 10_000
	// UnpackedRatio times MaxBytes is what a bundle may hold unpacked, unless configured.
	UnpackedRatio = 8
)

// ReadConfig says what a bundle must satisfy.
type ReadConfig struct {
	// Name of the bundle; required where Marks is given. Letters, digits, "_", "-", "." and at most 128.
	Name string
	// Verify demands a signature by one of its keys. nil: no signature is asked for, and one that is there is
	// not looked at: for inspection, and for directories that are trusted as they are.
	Verify *Verification
	// MaxBytes is the longest archive; default DefaultMaxBytes. A longer one is refused, unread.
	MaxBytes int64
	// MaxUnpackedBytes is the most that all files together may hold; default UnpackedRatio*MaxBytes.
	MaxUnpackedBytes int64
	// MaxFiles is the greatest number of entries; default DefaultMaxFiles.
	MaxFiles int
	// AllowedRoots are the paths below which a bundle may define anything; nil: anywhere. A bundle that
	// declares roots must declare only such; of one that declares none, everything in it must lie there.
	AllowedRoots []string
	// Capabilities are what modules may call (pass pdp/policy's Capabilities()); nil: OPA's own without what it
	// marks as nondeterministic.
	Capabilities *ast.Capabilities
	// Marks refuses a bundle that is older than one that was in force under the same name; nil: any sequence
	// is taken. Read never raises a mark: whoever puts the bundle into force does, by Marks.Raise.
	Marks *Marks
	// AllowExpired takes a bundle past its not_after: for inspection.
	AllowExpired bool
	// Now is the clock that not_after is held against; default time.Now.
	Now func() time.Time
}

// Verification says whose signatures count.
type Verification struct {
	// Keys by key id, which a bundle names in its signature's header ("kid").
	Keys map[string]Key
	// Scope must equal the signature's "scope" claim; empty: the claim must be absent or empty.
	Scope string
}

// Key is a public key.
type Key struct {
	// PEM is a public key in PKIX or PKCS #1 form, or a certificate.
	PEM string
	// Algorithm is the JWS "alg" that it may be used under, one of Algorithms. The signature's header must
	// name the same.
	Algorithm string
}

// Reason says in one word why a bundle was refused. The words are stable: metrics and change records use them.
type Reason string

// The reasons.
const (
	ReasonUnsigned   Reason = "unsigned"   // a signature is demanded and there is none
	ReasonSignature  Reason = "signature"  // by no key that counts, or not over these files
	ReasonExpired    Reason = "expired"    // past its not_after
	ReasonOlder      Reason = "older"      // below the high-water mark of its name
	ReasonTooLarge   Reason = "too_large"  // packed or unpacked
	ReasonPath       Reason = "path"       // an entry under a name that leaves the bundle, no plain file, or there twice
	ReasonRoots      Reason = "roots"      // defines or claims something outside its roots, or outside those allowed
	ReasonCapability Reason = "capability" // calls a builtin that policy may not use, or brings compiled code
	ReasonMalformed  Reason = "malformed"  // no bundle, or not readable
	ReasonTests      Reason = "tests"      // its own tests failed; given by whoever runs them
)

// RefusedError says why a bundle was refused. The last good bundle stays in force.
type RefusedError struct {
	Name   string // the bundle's name as configured; may be empty
	Reason Reason
	// Detail says to people what is wrong and what to do. It holds names, places and numbers, nothing else of what is in
	// the files.
	Detail string
	// Err is the cause; may be nil.
	Err error
}

func (e *RefusedError) Error() string {
	name := ""
	if e.Name != "" {
		name = fmt.Sprintf(" %q", e.Name)
	}
	return fmt.Sprintf("bundle%s refused (%s): %s", name, e.Reason, e.Detail)
}

// Unwrap gives the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

func refuse(reason Reason, format string, args ...any) *RefusedError {
	r := &RefusedError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			r.Err = err
		}
	}
	return r
}
