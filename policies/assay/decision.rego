# METADATA
# title: Assay
# description: >-
#   The decision about one token. Families of rules under assay.* and an organisation's own under assay.rules.*
#   find facts against the token; here, and only here, the configuration says what each finding does to the
#   answer. Allow is positive: it needs conditions that hold, not only the absence of findings.
# schemas:
#   - input: schema.input
package assay

import data.assay.algorithms
import data.assay.claims
import data.assay.config
import data.assay.header
import data.assay.lifetime
import data.assay.limits
import data.assay.minimization
import data.assay.plain
import data.assay.profile
import data.assay.revocation
import data.assay.sensitive

# METADATA
# title: Decision
# description: >-
#   The answer, always a defined object. Without input it is a deny with its reason. unchanged_until, where it is
#   said, is the last second at which the same facts at a later time still give the same answer; who asks again until
#   then need not evaluate again. It is not believed where a package that is not of this library reads the time.
# entrypoint: true
decision := {
	"allow": true,
	"reasons": set(),
	"claims": minimization.protocol_paths,
	"obligations": {},
	"cache_for_seconds": config.cache_for_seconds,
	"unchanged_until": plain.until,
} if {
	plain.bare
	not found_by_own
} else := {
	"allow": true,
	"reasons": reasons,
	"claims": minimization.released,
	"obligations": minimization.obligations,
	"cache_for_seconds": cache_for_seconds,
} if {
	allow
} else := {
	"allow": false,
	"reasons": (reasons | unexplained),
	"claims": set(),
	"obligations": {},
	"cache_for_seconds": 0,
}

# METADATA
# title: Allow
# description: A verified token of a known profile that has not expired, and against which nothing was found that denies.
default allow := false

allow if {
	input.verification.status == "verified"
	object.get(profile.settings, "credential", true) == true
	is_number(input.token.claims.exp)
	input.token.claims.exp > limits.earliest
	not denied
}

default denied := false

denied if reasons[_].enforcement == "deny"

# METADATA
# title: Findings
# description: What all rules found about the token, whatever that does to the answer.
findings contains finding if {
	input.verification.status == "verified"
	not plain.token
	some family in [
		lifetime.findings,
		claims.findings,
		algorithms.findings,
		revocation.findings,
	]
	some finding in family
}

findings contains finding if {
	input.verification.status == "verified"
	some finding in minimization.findings
}

findings contains finding if {
	input.verification.status == "verified"
	sensitive.possible
	some finding in sensitive.findings
}

findings contains finding if some finding in header.findings

findings contains finding if some finding in own_findings

# METADATA
# title: An organisation's own findings
# description: >-
#   Those of the packages assay.rules.NAME. No list of them is kept anywhere. (One name, not more: a pattern of two
#   would take in the rules of test packages, which ask for the decision, and OPA refuses recursion.)
own_findings contains finding if some finding in data.assay.rules[_].findings

default found_by_own := false

found_by_own if data.assay.rules[_].findings[_]

# METADATA
# title: The token was not verified
# description: >-
#   The signature was not verified and whoever examined the token did not say why. Where the examination
#   gave a reason, that reason stands and this one keeps silent.
# custom:
#   code: signature.invalid
#   severity: critical
#   controls: [ASVS:9.1.1, RFC8725:3.3, SOC2:CC6.1]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "the token was not verified",
	"details": {},
} if {
	not verified
	not input.verification.code
}

default verified := false

verified if input.verification.status == "verified"

# METADATA
# title: Reasons
# description: >-
#   The findings that are not switched off, each with what it does to the answer. Whatever a finding does not say is
#   filled in so that it cannot get lost.
reasons contains reason if {
	some finding in findings
	is_object(finding)
	rule := object.get(finding, ["rule", "custom"], {})
	code := object.get(rule, "code", "policy.undefined")
	mode := mode_of(code, finding)
	mode != "off"
	reason := {
		"code": code,
		"message": object.get(finding, "message", "a rule found something and does not say what"),
		"severity": object.get(rule, "severity", "critical"),
		"enforcement": enforcement(code, mode),
		"details": object.get(finding, "details", {}),
		"controls": object.get(rule, "controls", []),
	}
}

reasons contains {
	"code": "policy.undefined",
	"message": "a rule's finding is not an object with rule, message and details",
	"severity": "critical",
	"enforcement": "deny",
	"details": {},
	"controls": ["SOC2:CC8.1"],
} if {
	some finding in findings
	not is_object(finding)
}

# The reason of a deny that no finding explains.
unexplained contains {
	"code": "policy.undefined",
	"message": "nothing was found against the token, but a condition of every allow does not hold: a known profile and an exp that is not past",
	"severity": "critical",
	"enforcement": "deny",
	"details": {},
	"controls": ["SOC2:CC8.1"],
} if {
	verified
	not denied
}

# METADATA
# title: Mode of a rule
# description: The narrowest that says something counts, issuer before profile before everyone; else what the rule itself says.
mode_of(code, finding) := mode if {
	mode := config.issuers[input.verification.issuer].modes[code]
} else := mode if {
	mode := profile.settings.modes[code]
} else := mode if {
	mode := config.modes[code]
} else := mode if {
	mode := finding.mode
} else := mode if {
	mode := finding.rule.custom.mode
} else := "deny"

enforcement(code, mode) := "warn" if {
	mode == "warn"
} else := "waived" if {
	waived(code)
} else := "warn" if {
	config.issuers[input.verification.issuer].report_only == true
} else := "deny"

# METADATA
# title: Waived
# description: >-
#   A waiver for this rule is in force. What it names (issuer, client, audience) must all match; its date counts
#   to the last second, a date without a time to the end of that day in UTC. One without a readable date does nothing.
waived(code) if {
	some waiver in config.waivers
	waiver.rule == code
	subject := {name: value | some name in ["issuer", "client", "audience"]; value := waiver[name]}
	subject != {}
	every name, value in subject {
		asked[name] == value
	}
	time.format(input.time * 1000000000) <= last_second(waiver.until)
}

asked := {
	"issuer": object.get(input.verification, "issuer", null),
	"client": object.get(input.token.claims, "client_id", object.get(input.token.claims, "azp", null)),
	"audience": object.get(input.request, "audience", null),
}

# Times in UTC sort as their texts do, and a comparison cannot fail as reading an impossible date would.
last_second(until) := sprintf("%sT23:59:59Z", [until]) if {
	is_string(until)
	regex.match(`^\d{4}-\d{2}-\d{2}$`, until)
} else := until if {
	is_string(until)
	regex.match(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$`, until)
}

# METADATA
# title: Seconds for which a caller may reuse an allow
# description: Never past exp.
cache_for_seconds := config.cache_for_seconds if {
	input.token.claims.exp - input.time >= config.cache_for_seconds
} else := max([0, floor(input.token.claims.exp - input.time)])
