# METADATA
# title: The rules that Assay's default library applies to an access token, for OPA's own server
# description: >-
#   The signature by io.jwt.decode_verify, then type, required claims, times, audience and the claims to
#   release, with an answer of the same shape. It checks what a clean token passes; it does not look for
#   personal data, so it does less than the library.
package bench

allowed_algorithms := {"ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}

leeway := 30

max_lifetime := 3600

verified := io.jwt.decode_verify(input.token, {"cert": data.bench.jwks, "iss": data.bench.issuer, "aud": input.request.audience})

header := verified[1]

claims := verified[2]

now := time.now_ns() / 1000000000

reasons contains "signature.invalid" if verified[0] != true

reasons contains "algorithm.not_allowed" if not header.alg in allowed_algorithms

reasons contains "header.type_mismatch" if not lower(header.typ) in {"at+jwt", "application/at+jwt"}

reasons contains "header.key_reference" if {
	some name in ["jku", "jwk", "x5u", "x5c"]
	header[name]
}

reasons contains "claims.missing" if {
	some name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]
	not claims[name]
}

reasons contains "claims.wrong_type" if {
	some name in ["iss", "sub", "client_id", "jti"]
	not is_string(claims[name])
}

reasons contains "lifetime.too_long" if claims.exp - claims.iat > max_lifetime

reasons contains "lifetime.expired" if claims.exp + leeway <= now

reasons contains "lifetime.issued_in_future" if claims.iat > now + leeway

released[name] := claims[name] if {
	some name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope"]
}

default allow := false

allow if {
	verified[0] == true
	count(reasons) == 0
}

decision := {
	"allow": allow,
	"reasons": reasons,
	"claims": released,
	"token": {"status": "verified", "alg": header.alg, "kid": header.kid, "typ": header.typ, "issuer": claims.iss, "token_id": claims.jti, "expires_at": claims.exp},
	"cache_for_seconds": 30,
}
