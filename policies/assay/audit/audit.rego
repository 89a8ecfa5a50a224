# METADATA
# title: What may be written into the audit log
# description: >-
#   Which claims of a verified token, and which parts of the request, may stand in the record of a decision, and how. It
#   begins with nothing: what is not named here is not written. What is named because of its meaning (client_id, scope)
#   is still looked at, since a mail address can stand in any of them. A record outlives the token by years, and those
#   who read the log did not ask for the token (GDPR articles 5.1.c, 5.1.e, 25 and 32).
# schemas:
#   - input: schema.input
package assay.audit

import data.assay.config
import data.assay.sensitive

# METADATA
# title: Mask
# description: >-
#   Paths, which are arrays of names: of claims that are written as they are (clear) or as a pseudonym that belongs to a
#   period (pseudonymise), and the same of the request's action, resource, path, client_ip and context. A path that leads
#   to nothing is no harm. Or the text "usual", for what the rule of that name says, which depends on the configuration
#   alone and is worked out once. Always defined: a mask that is undefined or has no such form is one that failed, and then
#   nothing at all is written that could be masked.
mask := "usual" if {
	of_issuer == {}
	of_audience == {}
	inconspicuous
	worded
} else := {
	"clear": clear,
	"pseudonymise": pseudonymise,
	"clear_request": clear_request,
	"pseudonymise_request": pseudonymise_request,
}

# METADATA
# title: The usual mask
# description: That of a token and a request in which nothing shows anybody, where nothing narrower is configured.
usual := {
	"clear": {path |
		walk(config.audit.clear, [path, true])
		not classified(path)
	},
	"pseudonymise": ({path | walk(config.audit.pseudonymise, [path, true])} | by_class),
	"clear_request": ({["action"] | config.audit.request.action == "clear"} | clear_always),
	"pseudonymise_request": pseudonymise_request,
}

default claims := {}

claims := input.token.claims

default of_issuer := {}

of_issuer := config.issuers[input.verification.issuer].audit

default of_audience := {}

of_audience := config.audiences[input.request.audience].audit

# Of one claim the narrowest that says something counts: the asking audience before the issuer before everyone.
stated(use) := object.union_n([config.audit[use], object.get(of_issuer, use, {}), object.get(of_audience, use, {})])

candidates := config.audit.clear if {
	of_issuer == {}
	of_audience == {}
} else := stated("clear")

# METADATA
# title: Claims that are written as they are
# description: >-
#   Those that are configured and whose values show nobody. A classified claim is never among them, whatever else is
#   configured.
clear := nameable if {
	inconspicuous
} else := nameable - unfit

nameable := {path |
	walk(candidates, [path, true])
	not classified(path)
}

# METADATA
# title: Claims that are written as pseudonyms
# description: >-
#   Those that are configured, by name or by class, and those that would have been clear if their values did not show
#   somebody.
pseudonymise := (always | by_class) | veiled

always := {path | walk(veils, [path, true])}

veils := config.audit.pseudonymise if {
	of_issuer == {}
	of_audience == {}
} else := stated("pseudonymise")

by_class := {[name] |
	some name, class in config.minimization.claims
	config.audit.classes[class] == "pseudonymise"
}

default veiled := set()

veiled := {path |
	some path in unfit
	flat(object.get(claims, path, null))
} if {
	not inconspicuous
}

# One look at everything that would be clear tells of most tokens that there is nothing to hide in it: no mark of a shape,
# no object and no list within a list, nothing long, and none of the token's identifiers.
default inconspicuous := false

inconspicuous if {
	text := json.marshal(object.filter(claims, candidates))
	count(text) < longest
	not regex.match(conspicuous, text)
	not shows_identifier(text)
}

longest := 1024

# METADATA
# title: What the JSON of claims has that must be looked at
# description: Every value that a detector recognises matches this, and whatever is neither a scalar nor a list of them.
conspicuous := `[@+]|"(?:exp|iat|nbf|auth_time)":[^0-9-]|[A-Z]{2}[0-9]{2}|[0-9][0-9 -]{11}|-----|A[KSI][A-Za-z]|eyJ|\[\[|,\[|[:\[,]\{|(?:gh[oprsu]|pat|gl[a-z]{2,4}|xox[a-z]|[rs]k|whsec|hv[bsr]|npm|pypi|v1|shp[a-z]{2}|api|hf|SG)[_.-]`

# The letters in brackets are those that JSON writes in another way.
shows_identifier(_) if {
	some identifier in object.filter(claims, veils)
	is_string(identifier)
	regex.match(`["\\<>&\x00-\x1f\x{2028}\x{2029}]`, identifier)
}

shows_identifier(text) if {
	some identifier in object.filter(claims, veils)
	is_string(identifier)
	contains(text, identifier)
	identifier in identifiers
}

# What names somebody: the texts that are written as pseudonyms. A client that acts for itself (RFC 9068 section 2.2, where
# sub is the client's own identifier) is a program and nobody's person, and client_id may be read.
identifiers contains value if {
	some value in object.filter(claims, veils)
	is_string(value)
	value != ""
	not value in {object.get(claims, name, null) | some name in ["client_id", "azp", "iss"]}
}

unfit contains path if {
	some path in nameable
	value := object.get(claims, path, null)
	not fit(value)
}

# What is a date in every token is none where it is a text.
unfit contains [name] if {
	some name in ["exp", "iat", "nbf", "auth_time"]
	value := claims[name]
	not is_number(value)
}

fit(value) if harmless(value)

fit(value) if {
	is_array(value)
	every element in value {
		harmless(element)
	}
}

harmless(value) if is_null(value)

harmless(value) if is_boolean(value)

# A date in seconds has ten digits. A longer number may be that of a telephone, a card or a citizen.
harmless(value) if {
	is_number(value)
	abs(value) < 100000000000
}

harmless(value) if {
	is_string(value)
	count(value) < longest
	not personal(value)
}

personal(text) if {
	some shape in ["email", "phone", "iban", "payment_card", "secret"]
	sensitive.has_shape(shape, text)
}

personal(text) if {
	some identifier in identifiers
	shows(text, identifier)
}

# A short identifier is in many words; it counts as one.
shows(text, identifier) if text == identifier

shows(text, identifier) if {
	count(identifier) > 3
	contains(text, identifier)
}

shows(text, identifier) if identifier in regex.split(`[^A-Za-z0-9]+`, text)

# What can be a pseudonym: a scalar, or a list of them. Of an object the names alone could tell something.
flat(value) if is_string(value)

flat(value) if is_number(value)

flat(value) if {
	is_array(value)
	every element in value {
		not is_object(element)
		not is_array(element)
	}
}

# METADATA
# title: Parts of the request that are written as they are
# description: >-
#   Those that are configured. They come from the asking service and are written as it gave them, but for an action that is
#   more than a word.
clear_request := clear_always | {["action"] |
	config.audit.request.action == "clear"
	worded
}

clear_always contains [name] if {
	some name, "clear" in config.audit.request
	name != "action"
}

clear_always contains ["context", name] if some name, "clear" in config.audit.request.context

# The action is none, or a word that shows nobody.
default worded := false

worded if not input.request.action

worded if {
	action := input.request.action
	regex.match(`^[A-Za-z][A-Za-z0-9_.:/-]{0,63}$`, action)
	not regex.match(conspicuous, action)
	not shows_identifier(action)
}

# METADATA
# title: Parts of the request that are written as pseudonyms
pseudonymise_request contains [name] if some name, "pseudonymise" in config.audit.request

pseudonymise_request contains ["context", name] if some name, "pseudonymise" in config.audit.request.context

# METADATA
# title: Whether a path is classified
# description: What the configuration says of the whole path, with dots, goes before what it says of the names on it.
classified(path) := config.minimization.claims[concat(".", path)] != "none" if {
	config.minimization.claims[concat(".", path)]
} else := ({class | some name in path; class := config.minimization.claims[name]} - {"none"}) != set()

# Cleared unless somebody says otherwise. That such a claim is classified is no contradiction, and its class counts.
registered := {
	"iss", "aud", "exp", "iat", "nbf", "auth_time", "acr", "amr", "azp", "client_id", "scope", "jti",
	"at_hash", "c_hash", "token_use", "ver",
}

# METADATA
# title: What is wrong with the configuration
# description: >-
#   A claim that is classified as personal, sensitive or of a special category is configured to be written as it is. Assay
#   refuses a policy in whose configuration that stands: it depends on no input.
problems contains {
	"path": array.concat(place, path),
	"text": sprintf("this writes a claim into the audit log that minimization.claims classifies; pseudonymise it, or, if it shows nobody, set minimization.claims[%q] to none", [concat(".", path)]),
} if {
	some place, clears in configurations
	walk(clears, [path, true])
	not path[0] in registered
	classified(path)
}

configurations[["audit", "clear"]] := config.audit.clear

configurations[["issuers", issuer, "audit", "clear"]] := clears if {
	some issuer, settings in config.issuers
	clears := settings.audit.clear
}

configurations[["audiences", audience, "audit", "clear"]] := clears if {
	some audience, settings in config.audiences
	clears := settings.audit.clear
}
