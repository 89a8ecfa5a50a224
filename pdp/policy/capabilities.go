package policy

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// impure are the builtins that OPA does not mark as nondeterministic and that still have no place in a
// policy: they read the clock, draw random numbers or verify tokens, which was done before policy is asked.
var impure = []string{
	"crypto.x509.parse_and_verify_certificates",
	"crypto.x509.parse_and_verify_certificates_with_options",
	"io.jwt.decode_verify",
	"providers.aws.sign_req",
}

// pureAfterAll are the builtins that OPA marks as nondeterministic because a schema may refer to the
// network. Here it cannot: AllowNet names no host.
var pureAfterAll = []string{"json.match_schema", "json.verify_schema"}

// Capabilities gives what policy may use of OPA: no builtin whose answer depends on anything but its
// arguments, and no network. Tools that check or build policies for Assay compile with the same.
func Capabilities() *ast.Capabilities {
	capabilities := ast.CapabilitiesForThisVersion()
	capabilities.Builtins = slices.DeleteFunc(capabilities.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic && !slices.Contains(pureAfterAll, b.Name) ||
			slices.Contains(impure, b.Name) || strings.HasPrefix(b.Name, "io.jwt.verify_")
	})
	capabilities.AllowNet = []string{}
	return capabilities
}
