# METADATA
# title: Revocation
# description: What the index of revocations says of the token, its parties and its key. Go's floor denies these in any case.
# schemas:
#   - input: schema.input
package assay.revocation

import data.assay.config

# METADATA
# title: Token revoked
# description: This token was revoked.
# custom:
#   code: revocation.token
#   severity: critical
#   controls: [SOC2:CC7.4, ISO27001:A.5.18]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "revoked: an entry for this token is in force",
	"details": {},
} if {
	input.revocation.revoked == "token"
}

# METADATA
# title: Subject revoked
# description: All tokens of its subject were revoked.
# custom:
#   code: revocation.subject
#   severity: critical
#   controls: [SOC2:CC7.4, ISO27001:A.5.18]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "revoked: an entry for this subject is in force",
	"details": {},
} if {
	input.revocation.revoked == "subject"
}

# METADATA
# title: Client revoked
# description: All tokens of its client were revoked.
# custom:
#   code: revocation.client
#   severity: critical
#   controls: [SOC2:CC7.4, ISO27001:A.5.18]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "revoked: an entry for this client is in force",
	"details": {},
} if {
	input.revocation.revoked == "client"
}

# METADATA
# title: Session revoked
# description: All tokens of its session were revoked.
# custom:
#   code: revocation.session
#   severity: critical
#   controls: [SOC2:CC7.4, ISO27001:A.5.18]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "revoked: an entry for this session is in force",
	"details": {},
} if {
	input.revocation.revoked == "session"
}

# METADATA
# title: Signing key revoked
# description: The key that signed it was revoked, as a compromised one is.
# custom:
#   code: revocation.key
#   severity: critical
#   controls: [SOC2:CC7.4, ISO27001:A.5.26, ISO27001:A.8.24]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "revoked: an entry for this key is in force",
	"details": {},
} if {
	input.revocation.revoked == "key"
}

# METADATA
# title: Issuer revoked
# description: All tokens of its issuer were revoked.
# custom:
#   code: revocation.issuer
#   severity: critical
#   controls: [SOC2:CC7.4, ISO27001:A.5.26]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "revoked: an entry for this issuer is in force",
	"details": {},
} if {
	input.revocation.revoked == "issuer"
}

# METADATA
# title: Revocations are not up to date
# description: The index of revocations is older than revocation.max_age_seconds, so a revocation may be missing from it.
# custom:
#   code: revocation.feed_stale
#   severity: high
#   controls: [SOC2:CC7.4, ISO27001:A.5.18]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("what is known of revocations is %d s old; %d s are allowed", [seconds, limit]),
	"details": {"actual_seconds": seconds, "limit_seconds": limit},
} if {
	limit := config.revocation.max_age_seconds
	input.revocation.age_seconds > limit
	seconds := ceil(input.revocation.age_seconds)
}
