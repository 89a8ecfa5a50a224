package assay.sensitive

import data.assay.config
import data.assay.minimization
import data.assay.plain

# Values are looked at in sub, where a mail address or a telephone number often hides, and in the claims that are
# held back and whose name is not classified already. One expression looks for anything that a detector might want
# to see, so that the detectors are not asked about the rest.
texts[name] contains value if {
	name := "sub"
	value := input.token.claims.sub
	is_string(value)
	regex.match(plain.suspicious, value)
}

texts[name] contains value if {
	some name, value in minimization.held_back
	is_string(value)
	not name in named
	regex.match(plain.suspicious, value)
}

texts[name] contains value if {
	some outer in composite
	walk(minimization.held_back[outer], [inner, value])
	is_string(value)
	regex.match(plain.suspicious, value)
	name := concat(".", [step | some step in array.concat([outer], inner); is_string(step)])
	not name in named
}

# Of what a claim's name tells already, nothing more is said.
named contains name if {
	some name, class in classes
	class != "none"
}

named contains name if some name in classified[_]

found_in(shape) := sort({name |
	some name, values in texts
	some value in values
	has_shape(shape, value)
})

# What stands before the @ of an address such as ssh://git@host/ is no mailbox.
has_shape("email", value) if {
	contains(value, "@")
	mailboxes := regex.replace(value, `://[^/?#@\s]*@|\bgit@`, "://")
	regex.match(`(^|[^\pL\pN._%+-])[\pL\pN._%+-]+@([\pL\pN-]+\.)+\pL{2,}($|[^\pL\pN-])`, mailboxes)
}

# E.164 with its plus sign: without it, any long number would do. What follows the sign is a country code, which sets
# decimal numbers apart; what a plus or minus follows are coordinates.
has_shape("phone", value) if {
	some candidate in regex.find_n(`(?:^|[^0-9A-Za-z+])\+(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[2-9][0-9]{2})[0-9 ().-]{4,20}[0-9](?:$|[^0-9A-Za-z+])`, value, 8)
	digits := count(regex.replace(candidate, `[^0-9]`, ""))
	digits >= 8
	digits <= 15
}

# ISO 13616: the check digits make the number, first four characters moved to the end and letters counted from
# A = 10, leave 1 modulo 97. How long it is depends on the country; what follows it is not of it.
has_shape("iban", value) if {
	some candidate in regex.find_n(`\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b`, value, 8)
	found := replace(candidate, " ", "")
	length := iban_lengths[substring(found, 0, 2)]
	count(found) >= length
	account := substring(found, 0, length)
	turned := concat("", [substring(account, 4, -1), substring(account, 0, 4)])
	digits := concat("", [iban_digits[character] | some character in split(turned, "")])
	to_number(trim_left(digits, "0")) % 97 == 1
}

# The registry of ISO 13616: the length of an account number by its country.
iban_lengths := {
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22,
	"BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24,
	"DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
	"FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27,
	"GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
	"IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
	"LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
	"MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24,
	"PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
	"SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25,
	"SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
	"YE": 30,
}

iban_digits := {character: format_int(value, 10) | some value, character in split("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", "")}

# ISO/IEC 7812: the issuer ranges in use, and Luhn's check digit. One number in ten has that by chance, so that ranges
# which hold much else (Maestro's, Visa's of thirteen digits) are left out. A plus before it makes it a telephone number.
has_shape("payment_card", value) if {
	some candidate in regex.find_n(`(?:^|[^0-9A-Za-z+])(?:[2-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,7}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5})\b`, value, 8)
	digits := regex.replace(candidate, `[^0-9]`, "")
	regex.match(`^(?:4[0-9]{15}(?:[0-9]{3})?|62[0-9]{14,17}|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11}|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}|35(?:2[89]|[3-8][0-9])[0-9]{12})$`, digits)
	figures := split(digits, "")
	last := count(figures) - 1
	total := sum([luhn[(last - place) % 2][figure] | some place, figure in figures])
	total % 10 == 0
}

# What each figure counts, in a place that is not doubled and in one that is.
luhn := [
	{"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9},
	{"0": 0, "1": 2, "2": 4, "3": 6, "4": 8, "5": 1, "6": 3, "7": 5, "8": 7, "9": 9},
]

has_shape("secret", value) if {
	regex.match(`-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----`, value)
}

# The prefixes that services give their tokens so that scanners find them.
has_shape("secret", value) if {
	regex.match(`(^|[^A-Za-z0-9])(gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}|gl(?:pat|rt|dt|ft|cbt|ptt|soat)-[A-Za-z0-9_-]{20}|xox[abeoprs]-[A-Za-z0-9-]{10}|[rs]k_(?:live|test)_[A-Za-z0-9]{20}|whsec_[A-Za-z0-9]{20}|sk-(?:proj|ant|svcacct|admin)[A-Za-z0-9]*-[A-Za-z0-9_-]{20}|A[KS]IA[A-Z2-7]{16}|AIza[A-Za-z0-9_-]{35}|hv[bsr]\.[A-Za-z0-9_-]{20}|npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{20}|dckr_pat_[A-Za-z0-9_-]{20}|dop_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|lin_api_[A-Za-z0-9]{32}|hf_[A-Za-z0-9]{34}|SG\.[A-Za-z0-9_-]{20})`, value)
}

# A password in an address: scheme://user:password@host.
has_shape("secret", value) if {
	regex.match(`[A-Za-z][A-Za-z0-9+.-]*://[^/?#@:\s]*:[^/?#@\s]+@`, value)
}

# A token within a token.
has_shape("secret", value) if {
	regex.match(`(^|[^A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`, value)
}

# METADATA
# title: Value looks like a mail address
# description: A string in sub or in a claim that is held back is or contains a mail address.
# custom:
#   code: minimization.sensitive_value
#   severity: medium
#   controls: [GDPR:5.1.c, GDPR:25, SOC2:CC6.7, ISO27001:A.5.34, ISO27001:A.8.12]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.shapes.email,
	"message": sprintf("has what looks like a mail address in %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	texts != {}
	names := found_in("email")
	names != []
}

# METADATA
# title: Value looks like a telephone number
# description: A string is or contains a telephone number in international form (E.164).
# custom:
#   code: minimization.sensitive_value
#   severity: medium
#   controls: [GDPR:5.1.c, GDPR:25, SOC2:CC6.7, ISO27001:A.5.34, ISO27001:A.8.12]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.shapes.phone,
	"message": sprintf("has what looks like a telephone number in %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	texts != {}
	names := found_in("phone")
	names != []
}

# METADATA
# title: Value is a bank account number
# description: A string is or contains an IBAN whose check digits are right (ISO 13616).
# custom:
#   code: minimization.sensitive_value
#   severity: high
#   controls: [GDPR:5.1.c, GDPR:32, SOC2:CC6.7, ISO27001:A.8.11, ISO27001:A.8.12]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.shapes.iban,
	"message": sprintf("has what looks like a bank account number in %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	texts != {}
	names := found_in("iban")
	names != []
}

# METADATA
# title: Value is a payment card number
# description: A string is or contains a card number of an issuer's range whose check digit is right (ISO/IEC 7812).
# custom:
#   code: minimization.sensitive_value
#   severity: critical
#   controls: [GDPR:5.1.c, GDPR:32, SOC2:CC6.7, ISO27001:A.8.11, ISO27001:A.8.12]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.shapes.payment_card,
	"message": sprintf("has what looks like a payment card number in %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	texts != {}
	names := found_in("payment_card")
	names != []
}

# METADATA
# title: Value is a secret
# description: A string is or contains a private key, an API token or another token.
# custom:
#   code: minimization.sensitive_value
#   severity: critical
#   controls: [GDPR:5.1.f, GDPR:32, SOC2:CC6.7, ISO27001:A.8.11, ISO27001:A.8.12]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.shapes.secret,
	"message": sprintf("has what looks like a secret (a private key, an API token or another token) in %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	texts != {}
	names := found_in("secret")
	names != []
}

# METADATA
# title: Private key in cnf
# description: The confirmation claim holds a private or symmetric JWK, where RFC 7800 section 3.2 has a public or an encrypted one.
# custom:
#   code: minimization.sensitive_value
#   severity: critical
#   controls: [GDPR:5.1.f, SOC2:CC6.7, ISO27001:A.8.12, ISO27001:A.8.24]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.shapes.secret,
	"message": "has a private or symmetric key in cnf",
	"details": {"claims": ["cnf"]},
} if {
	jwk := input.token.claims.cnf.jwk
	is_object(jwk)
	object.filter(jwk, {"d", "k", "p", "q"}) != {}
}
