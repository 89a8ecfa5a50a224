package workbench

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/open-policy-agent/opa/v1/format"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// NewRule says what the frame of a rule is about.
type NewRule struct {
	// Name is the package's, below assay.rules: lower case letters, digits and "_".
	Name string
	// Code is the reason's, family.name; default Name + ".found".
	Code string
	// Title is a few words; default made of Name.
	Title string
	// Severity is low, medium (default), high or critical.
	Severity string
	// Mode is deny, warn (default) or off: a new rule is watched before it denies.
	Mode string
	// Controls are the requirements that the rule serves, such as SOC2:CC6.3; may be empty.
	Controls []string
}

var (
	ruleName     = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	controlName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._-]*$`)
	oneLineTitle = regexp.MustCompile(`^[^\s:#"'\\[\]{}][^\n\r:#"\\]*$`)
)

// check fills defaults and refuses what would not be a rule.
func (n *NewRule) check() error {
	if !ruleName.MatchString(n.Name) || strings.HasSuffix(n.Name, "_test") {
		return fmt.Errorf("name %q: lower case letters, digits and _, beginning with a letter, not ending in _test", n.Name)
	}
	if n.Code == "" {
		n.Code = n.Name + ".found"
	}
	if n.Title == "" {
		n.Title = strings.ToUpper(n.Name[:1]) + strings.ReplaceAll(n.Name[1:], "_", " ")
	}
	if n.Severity == "" {
		n.Severity = string(pdp.Medium)
	}
	if n.Mode == "" {
		n.Mode = "warn"
	}
	var wrong []error
	if !policy.IsCode(n.Code) {
		wrong = append(wrong, fmt.Errorf("code %q: of the form family.name, such as %s.found", n.Code, n.Name))
	}
	if !oneLineTitle.MatchString(n.Title) {
		wrong = append(wrong, errors.New(`title: a few words on one line, without : # " \`))
	}
	if !slices.Contains([]pdp.Severity{pdp.Low, pdp.Medium, pdp.High, pdp.Critical}, pdp.Severity(n.Severity)) {
		wrong = append(wrong, fmt.Errorf("severity %q: low, medium, high or critical", n.Severity))
	}
	if !slices.Contains([]string{"deny", "warn", "off"}, n.Mode) {
		wrong = append(wrong, fmt.Errorf("mode %q: deny, warn or off", n.Mode))
	}
	for _, control := range n.Controls {
		if !controlName.MatchString(control) {
			wrong = append(wrong, fmt.Errorf("control %q: a name such as SOC2:CC6.3", control))
		}
	}
	return errors.Join(wrong...)
}

var scaffolds = []struct{ suffix, text string }{{".rego", `# METADATA
# title: {{.Title}}
# description: Rules of our own about {{.Name}}.
# schemas:
#   - input: schema.input
package assay.rules.{{.Name}}

# METADATA
# title: {{.Title}}
# description: >-
#   Says what is wrong with such a token, and what those who issue it should do instead.
# custom:
#   code: {{.Code}}
#   severity: {{.Severity}}
#   controls: [{{.Joined}}]
#   mode: {{.Quoted}}
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("is used %d s after it was issued, by an example", [age]),
	"details": {"age_seconds": age},
} if {
	# Begin with what only such tokens have, so that OPA's index passes over all others. It is an example: replace it.
	input.token.claims.client_id == "example-client"
	is_number(input.token.claims.iat)
	age := floor(input.time - input.token.claims.iat)
	age > limit_seconds
}

limit_seconds := 300
`}, {"_test.rego", `package assay.rules.{{.Name}}_test

import data.assay.rules.{{.Name}}

# What such a token looks like to the rule; add what else it reads. A test of the whole decision would begin with
# data.assay.fixture_test.access_token, beside the library.
used_at(seconds, client) := {
	"time": 1000000 + seconds,
	"verification": {"status": "verified"},
	"token": {"claims": {"iat": 1000000, "client_id": client}},
}

codes(document) := {finding.rule.custom.code | some finding in {{.Name}}.findings with input as document}

test_finds if codes(used_at(301, "example-client")) == {"{{.Code}}"}

test_passes_at_the_limit if codes(used_at(300, "example-client")) == set()

test_passes_others if codes(used_at(301, "another-client")) == set()

test_passes_empty_input if codes({}) == set()

test_tells_numbers_only if {
	every finding in {{.Name}}.findings {
		finding.details == {"age_seconds": 301}
	} with input as used_at(301, "example-client")
}
`}}

// Joined is the list of controls as metadata writes it.
func (n NewRule) Joined() string { return strings.Join(n.Controls, ", ") }

// Quoted keeps YAML from reading off as false.
func (n NewRule) Quoted() string {
	if n.Mode == "off" {
		return `"off"`
	}
	return n.Mode
}

// Scaffold writes the frame of a rule: its module with metadata, and tests that pass, with Assay and with stock OPA, also
// without the library. The names of the files are paths below a bundle's root, where path and package agree.
func Scaffold(n NewRule) (map[string][]byte, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(scaffolds))
	for _, s := range scaffolds {
		name := "assay/rules/" + n.Name + "/" + n.Name + s.suffix
		parsed, err := template.New(name).Parse(s.text)
		if err != nil {
			return nil, err
		}
		var text bytes.Buffer
		if err := parsed.Execute(&text, n); err != nil {
			return nil, err
		}
		formatted, err := format.Source(name, text.Bytes())
		if err != nil {
			return nil, fmt.Errorf("name %q does not do for a package: %w", n.Name, err)
		}
		files[name] = formatted
	}
	return files, nil
}
