# METADATA
# title: Profile
# description: >-
#   Which set of rules a token is judged by. It is chosen by the kind that the request asks for, the token's typ
#   and what is configured for its issuer, never by its claims, so that the profiles exclude each other (RFC 8725
#   section 3.12).
# schemas:
#   - input: schema.input
package assay.profile

import data.assay.config

# METADATA
# title: Name of the profile
# description: >-
#   What the issuer's token_types say goes before what everyone's say. Undefined or false where none fits, in which
#   case header.type_mismatch denies.
name := found if {
	found := config.issuers[input.verification.issuer].token_types[input.request.token_type][typ]
} else := config.token_types[input.request.token_type][typ]

typ := object.get(input.token, "typ", "")

# METADATA
# title: Undeclared kind
# description: >-
#   The issuer is one that has to say in typ what its tokens are (explicit_typ), and this one does not. Only the kinds
#   that have a typ of their own, at+jwt and logout+jwt, can be asked for it (RFC 8725 section 3.11).
default undeclared := false

undeclared if {
	config.issuers[input.verification.issuer].explicit_typ == true
	input.request.token_type in {"access_token", "logout_token", "jwt"}
	typ in {"", "jwt"}
}

# METADATA
# title: Settings of the profile
# description: What the configuration says of it.
settings := config.profiles[name] if not undeclared

# METADATA
# title: What was asked for
# description: >-
#   The settings by which the form of the claims is judged. Where no profile fits the token's typ, they are those of the
#   kind that the request asks for, so that all that is wrong is told and not its typ alone.
asked := settings if {
	settings
} else := config.profiles[input.request.token_type]

# METADATA
# title: What messages call tokens of the kind asked for
default asked_noun := "such tokens"

asked_noun := asked.noun

# METADATA
# title: Informs
# description: Tokens of the profile say what happened and are never a credential, as security event tokens (RFC 8417).
default informs := false

informs if settings.credential == false

# METADATA
# title: Absent claims
# description: >-
#   The required claims that the token does not have, each with whether the configuration means it: a
#   requirement is lifted by setting it to false.
absent := object.remove(object.get(settings, "required_claims", {}), input.token.claims)

# METADATA
# title: What messages call tokens of the profile
default noun := "such tokens"

noun := settings.noun
