# METADATA
# title: Fixture
# description: >-
#   What the tests have in common: inputs that nothing can be said against, changed by JSON patches, and the decision
#   about them in a form that is short to write down.
package assay.fixture_test

import data.assay
import data.assay.config

# The moment at which the tests judge.
now := 1795460000

# METADATA
# title: A conforming RFC 9068 access token
access_token := {
	"time": now,
	"request": {"audience": "orders", "token_type": "access_token"},
	"token": {
		"size": 700,
		"kind": "jws",
		"alg": "ES256",
		"kid": "k1",
		"typ": "at+jwt",
		"key_references": [],
		"encrypted": false,
		"header": {"alg": "ES256", "kid": "k1", "typ": "at+jwt"},
		"claims": {
			"iss": "https://idp.example",
			"sub": "user-17",
			"aud": "orders",
			"exp": now + 300,
			"iat": now - 60,
			"jti": "01JDXYZ",
			"client_id": "web",
			"scope": "orders:read orders:write",
		},
		"id": "01JDXYZ",
	},
	"verification": {
		"status": "verified",
		"issuer": "https://idp.example",
		"alg": "ES256",
		"key": {"thumbprint": "t1", "kid": "k1", "kty": "EC", "crv": "P-256", "bits": 256, "created": now - 86400},
	},
	"revocation": {"known": true, "age_seconds": 1.5},
}

# METADATA
# title: A conforming OpenID Connect ID token
id_token := json.patch(access_token, [
	replace("/request/token_type", "id_token"),
	replace("/token/typ", "jwt"),
	remove("/token/claims/scope"),
	remove("/token/claims/client_id"),
	set_claim("nonce", "n-0S6"),
	set_claim("auth_time", now - 90),
	set_claim("sid", "s1"),
])

# METADATA
# title: A conforming OpenID Connect logout token
logout_token := json.patch(access_token, [
	replace("/request/token_type", "logout_token"),
	replace("/token/typ", "logout+jwt"),
	remove("/token/claims/scope"),
	remove("/token/claims/client_id"),
	set_claim("sid", "s1"),
	set_claim("events", {"http://schemas.openid.net/event/backchannel-logout": {}}),
])

# METADATA
# title: A conforming SPIFFE JWT-SVID
jwt_svid := json.patch(access_token, [
	replace("/request/token_type", "jwt_svid"),
	replace("/token/typ", "jwt"),
	remove("/token/claims/scope"),
	remove("/token/claims/client_id"),
	remove("/token/claims/jti"),
	set_claim("sub", "spiffe://example.org/orders/worker"),
])

# METADATA
# title: A conforming Kubernetes service-account token, and the configuration of the cluster that issued it
service_account := json.patch(access_token, [
	remove("/token/typ"),
	remove("/token/claims/scope"),
	remove("/token/claims/client_id"),
	set_claim("aud", ["orders"]),
	set_claim("nbf", now - 60),
	set_claim("sub", "system:serviceaccount:shop:worker"),
	set_claim("kubernetes.io", {"namespace": "shop", "serviceaccount": {"name": "worker", "uid": "5a1c"}}),
])

kubernetes := {"issuers": {"https://idp.example": {"token_types": {"access_token": {"": "kubernetes_service_account", "jwt": "kubernetes_service_account"}}}}}

# METADATA
# title: A conforming security event token
security_event := json.patch(access_token, [
	replace("/request/token_type", "security_event"),
	replace("/token/typ", "secevent+jwt"),
	remove("/token/claims/scope"),
	remove("/token/claims/client_id"),
	remove("/token/claims/exp"),
	remove("/token/claims/sub"),
	set_claim("events", {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}}),
])

replace(path, value) := {"op": "replace", "path": path, "value": value}

add(path, value) := {"op": "add", "path": path, "value": value}

remove(path) := {"op": "remove", "path": path}

set_claim(name, value) := {"op": "add", "path": ["token", "claims", name], "value": value}

drop_claim(name) := {"op": "remove", "path": ["token", "claims", name]}

# METADATA
# title: The paths that an allow releases where nothing is configured
protocol := data.assay.minimization.protocol_paths

# METADATA
# title: Decision
# description: >-
#   The whole decision about a document under the defaults and an organisation's own configuration. Severity and
#   controls are left out of the reasons: they are the metadata's, and are tested once. It must be the same without
#   the short cut for plain tokens.
decision(document, own) := brief(said) if {
	configured := object.union(config, own)
	decided := assay.decision with input as document with data.assay.config as configured
	the_long_way := assay.decision with input as document
		with data.assay.config as configured
		with data.assay.plain.token as false
	said := object.remove(decided, {"unchanged_until"})
	said == object.remove(the_long_way, {"unchanged_until"})
}

brief(decided) := object.union(decided, {"reasons": {object.remove(reason, {"severity", "controls"}) | some reason in decided.reasons}})

# METADATA
# title: An allow with nothing to say
allowed := allowed_with(set())

allowed_with(reasons) := {
	"allow": true,
	"reasons": reasons,
	"claims": protocol,
	"obligations": {},
	"cache_for_seconds": 30,
}

# METADATA
# title: A deny for the given reasons
denied(reasons) := {
	"allow": false,
	"reasons": reasons,
	"claims": set(),
	"obligations": {},
	"cache_for_seconds": 0,
}

deny(code, message, details) := reason("deny", code, message, details)

warn(code, message, details) := reason("warn", code, message, details)

waived(code, message, details) := reason("waived", code, message, details)

reason(enforcement, code, message, details) := {
	"code": code,
	"message": message,
	"enforcement": enforcement,
	"details": details,
}

# METADATA
# title: A decision whose claims in names are held back
omitting(decision, names) := object.union(decision, {"obligations": {"omit_claims": names}})

# METADATA
# title: A decision that releases more paths
releasing(decision, paths) := object.union(decision, {"claims": union({protocol, paths})})
