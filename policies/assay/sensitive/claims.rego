# METADATA
# title: Sensitive data
# description: >-
#   Data that should not be in a token that anyone can read: by the class of a claim's name and by the shape of a
#   value. It is looked for in what is held back; what is released to the asking audience is needed there. Asked
#   only about tokens that can have any (GDPR articles 5.1.c, 9 and 32).
# schemas:
#   - input: schema.input
package assay.sensitive

import data.assay.config
import data.assay.minimization
import data.assay.plain
import data.assay.profile

# METADATA
# title: Whether there is anything to look at
default possible := false

possible if minimization.extra != {}

possible if {
	is_string(input.token.claims.sub)
	regex.match(plain.suspicious, input.token.claims.sub)
}

possible if _ = input.token.claims.cnf

# METADATA
# title: Personal data in clear
# description: >-
#   The token has a claim that is classified as personal and not released to the asking audience.
# custom:
#   code: minimization.sensitive_claim
#   severity: medium
#   controls: [GDPR:5.1.c, GDPR:25, GDPR:32, SOC2:CC6.7, ISO27001:A.5.34, ISO27001:A.8.12]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.classes.personal[transport],
	"message": sprintf("has personal data that the asking audience does not need: %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	names := sort(classified.personal)
}

# METADATA
# title: Sensitive data
# description: The token has a claim that is classified as sensitive, such as a secret or the number of a document.
# custom:
#   code: minimization.sensitive_claim
#   severity: high
#   controls: [GDPR:5.1.c, GDPR:25, GDPR:32, SOC2:CC6.7, ISO27001:A.8.11, ISO27001:A.8.12]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.classes.sensitive[transport],
	"message": sprintf("has sensitive data that the asking audience does not need: %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	names := sort(classified.sensitive)
}

# METADATA
# title: Special category of personal data
# description: The token has a claim that is classified as a special category of personal data (GDPR article 9).
# custom:
#   code: minimization.sensitive_claim
#   severity: critical
#   controls: [GDPR:5.1.c, GDPR:25, GDPR:32, SOC2:CC6.7, ISO27001:A.5.34, ISO27001:A.8.12]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.classes.special_category[transport],
	"message": sprintf("has personal data of a special category that the asking audience does not need: %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	names := sort(classified.special_category)
}

# METADATA
# title: Released data in clear
# description: >-
#   The token is signed only, and has a claim of a class that demands encryption (minimization.classes, released_in_clear).
#   The claim is released to the asking audience, and everyone else who meets the token can read it too.
# custom:
#   code: minimization.sensitive_claim
#   severity: high
#   controls: [GDPR:32, GDPR:5.1.f, SOC2:CC6.7, ISO27001:A.5.34, ISO27001:A.8.12]
findings contains {
	"rule": rego.metadata.rule(),
	"mode": config.minimization.classes[class].released_in_clear,
	"message": sprintf("has data of the class %s in clear, which the class demands to be encrypted: %s", [class, concat(", ", names)]),
	"details": {"claims": names},
} if {
	minimization.granted != set()
	transport == "in_clear"
	some class, found in released_in_clear
	config.minimization.classes[class].released_in_clear != "off"
	names := sort(found)
}

released_in_clear[class] contains concat(".", steps) if {
	some path in minimization.granted
	_ = minimization.extra[path[0]]
	value := object.get(input.token.claims, path, null)
	walk([value], [inner, _])
	inner != []
	places := array.concat(path, array.slice(inner, 1, count(inner)))
	steps := [step | some step in places; is_string(step)]
	by_name := object.get(config.minimization.claims, places[count(places) - 1], "none")
	class := object.get(config.minimization.claims, concat(".", steps), by_name)
	reported(class)
}

default transport := "in_clear"

transport := "encrypted" if input.token.encrypted == true

# The classified names among those that are held back, in one look-up.
classes := object.filter(config.minimization.claims, minimization.held_back)

classified[class] contains name if {
	some name, class in classes
	reported(class)
}

# Names are looked up wherever they stand: of {"user": {"email": …}} it is user.email that is found. What the
# configuration says of the whole path goes before what it says of the name.
classified[class] contains path if {
	some outer in composite
	walk(minimization.held_back[outer], [inner, _])
	inner != []
	path := concat(".", [step | some step in array.concat([outer], inner); is_string(step)])
	by_name := object.get(config.minimization.claims, inner[count(inner) - 1], "none")
	class := object.get(config.minimization.claims, path, by_name)
	reported(class)
}

reported(class) if {
	class != "none"
	not profile.settings.expected_classes[class]
}

composite contains name if {
	some name, value in minimization.held_back
	type_name(value) in {"object", "array"}
}
