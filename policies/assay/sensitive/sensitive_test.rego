package assay.sensitive_test

import data.assay.fixture_test as fixture
import data.assay.sensitive

personal := "personal data"

sensitive_data := "sensitive data"

special := "personal data of a special category"

claim(enforcement, what, names) := fixture.reason(
	enforcement,
	"minimization.sensitive_claim",
	sprintf("has %s that the asking audience does not need: %s", [what, concat(", ", names)]),
	{"claims": names},
)

value(enforcement, what, names) := fixture.reason(
	enforcement,
	"minimization.sensitive_value",
	sprintf("has what looks like %s in %s", [what, concat(", ", names)]),
	{"claims": names},
)

in_clear(enforcement, class, names) := fixture.reason(
	enforcement,
	"minimization.sensitive_claim",
	sprintf("has data of the class %s in clear, which the class demands to be encrypted: %s", [class, concat(", ", names)]),
	{"claims": names},
)

mail := "a mail address"

phone := "a telephone number"

iban := "a bank account number"

card := "a payment card number"

secret := "a secret (a private key, an API token or another token)"

encrypted := fixture.replace("/token/encrypted", true)

claim_cases := {
	"personal data": {
		"patch": [fixture.set_claim("email", "a@b.example"), fixture.set_claim("given_name", "A")],
		"want": fixture.omitting(fixture.allowed_with({claim("warn", personal, ["email", "given_name"])}), ["email", "given_name"]),
	},
	"personal data, encrypted": {
		"patch": [encrypted, fixture.set_claim("email", "a@b.example")],
		"want": fixture.omitting(fixture.allowed, ["email"]),
	},
	"personal data that its audience needs": {
		"patch": [fixture.set_claim("email", "a@b.example")],
		"config": {"audiences": {"orders": {"release": {"email": true}}}},
		"want": fixture.releasing(fixture.allowed, {["email"]}),
	},
	"personal data where it denies": {
		"patch": [fixture.set_claim("email", "a@b.example")],
		"config": {"minimization": {"classes": {"personal": {"in_clear": "deny"}}}},
		"want": fixture.denied({claim("deny", personal, ["email"])}),
	},
	"sensitive data": {
		"patch": [fixture.set_claim("ssn", "078-05-1120")],
		"want": fixture.denied({claim("deny", sensitive_data, ["ssn"])}),
	},
	"a special category, in clear": {
		"patch": [fixture.set_claim("religion", "none")],
		"want": fixture.denied({claim("deny", special, ["religion"])}),
	},
	"a special category, encrypted": {
		"patch": [encrypted, fixture.set_claim("religion", "none")],
		"want": fixture.omitting(fixture.allowed_with({claim("warn", special, ["religion"])}), ["religion"]),
	},
	"personal data that is released in clear": {
		"patch": [fixture.set_claim("user", {"email": "a@b.example", "id": 1})],
		"config": {"audiences": {"orders": {"release": {"user": true}}}, "minimization": {"classes": {"personal": {"released_in_clear": "deny"}}}},
		"want": fixture.denied({in_clear("deny", "personal", ["user.email"])}),
	},
	"personal data that is released, and the rule's mode is deny": {
		"patch": [fixture.set_claim("email", "a@b.example")],
		"config": {"modes": {"minimization.sensitive_claim": "deny"}, "audiences": {"orders": {"release": {"email": true}}}},
		"want": fixture.releasing(fixture.allowed, {["email"]}),
	},
	"personal data of which a member is released in clear": {
		"patch": [fixture.set_claim("user", {"email": "a@b.example", "id": 1})],
		"config": {"audiences": {"orders": {"release": {"user": {"id": true}}}}, "minimization": {"classes": {"personal": {"in_clear": "off", "released_in_clear": "deny"}}}},
		"want": fixture.omitting(fixture.releasing(fixture.allowed, {["user", "id"]}), ["user.email"]),
	},
	"personal data that is released, encrypted": {
		"patch": [encrypted, fixture.set_claim("email", "a@b.example")],
		"config": {"audiences": {"orders": {"release": {"email": true}}}, "minimization": {"classes": {"personal": {"released_in_clear": "deny"}}}},
		"want": fixture.releasing(fixture.allowed, {["email"]}),
	},
	"a special category that is released in clear": {
		"patch": [fixture.set_claim("religion", "none")],
		"config": {"audiences": {"orders": {"release": {"religion": true}}}},
		"want": fixture.releasing(fixture.allowed_with({in_clear("warn", "special_category", ["religion"])}), {["religion"]}),
	},
	"released, and not in the token": {
		"patch": [fixture.set_claim("tenant", "a")],
		"config": {"audiences": {"orders": {"release": {"religion": true, "tenant": true}}}},
		"want": fixture.releasing(fixture.allowed, {["religion"], ["tenant"]}),
	},
	"hidden within others": {
		"patch": [fixture.set_claim("user", {"mail": [{"email": "a@b.example"}], "x": {"password": "p"}})],
		"want": fixture.denied({claim("warn", personal, ["user.mail", "user.mail.email"]), claim("deny", sensitive_data, ["user.x.password"])}),
	},
	"the class of a path goes before that of its name": {
		"patch": [fixture.set_claim("user", {"name": "A B"}), fixture.set_claim("pod", {"name": "a", "ids": [{"node": 1}]})],
		"config": {"minimization": {"claims": {"pod.name": "none", "pod.ids.node": "personal"}}},
		"want": fixture.omitting(fixture.allowed_with({claim("warn", personal, ["pod.ids.node", "user.name"])}), ["pod", "user"]),
	},
	"a class of one's own": {
		"patch": [fixture.set_claim("shoe_size", 44), fixture.set_claim("nickname", "Al")],
		"config": {"minimization": {"claims": {"shoe_size": "personal", "nickname": "none"}}},
		"want": fixture.omitting(fixture.allowed_with({claim("warn", personal, ["shoe_size"])}), ["nickname", "shoe_size"]),
	},
}

test_sensitive_claim[name] if {
	some name, case in claim_cases
	got := fixture.decision(json.patch(fixture.access_token, case.patch), object.get(case, "config", {}))
	got == case.want
}

test_personal_data_is_normal_in_an_id_token if {
	document := json.patch(fixture.id_token, [fixture.set_claim("email", "a@b.example"), fixture.set_claim("name", "A B")])
	got := fixture.decision(document, {})
	got == fixture.omitting(fixture.allowed, ["email", "name"])
}

value_cases := {
	"a mail address as subject": {
		"patch": [fixture.set_claim("sub", "alice@example.org")],
		"want": fixture.allowed_with({value("warn", mail, ["sub"])}),
	},
	"a telephone number as subject": {
		"patch": [fixture.set_claim("sub", "+31 6 1234 5678")],
		"want": fixture.allowed_with({value("warn", phone, ["sub"])}),
	},
	"values that are told by their claim's name already": {
		"patch": [fixture.set_claim("email", "alice@example.org")],
		"want": fixture.omitting(fixture.allowed_with({claim("warn", personal, ["email"])}), ["email"]),
	},
	"values in claims that are released": {
		"patch": [fixture.set_claim("login", "alice@example.org")],
		"config": {"audiences": {"orders": {"release": {"login": true}}}},
		"want": fixture.releasing(fixture.allowed, {["login"]}),
	},
	"values wherever they hide": {
		"patch": [fixture.set_claim("x", {"y": ["no", {"z": "pay GB82 WEST 1234 5698 7654 32 now"}]}), fixture.set_claim("w", "call +1-202-555-0143")],
		"want": fixture.denied({value("deny", iban, ["x.y.z"]), value("warn", phone, ["w"])}),
	},
	"a payment card and a secret": {
		"patch": [fixture.set_claim("note", "4111 1111 1111 1111"), fixture.set_claim("more", ["AKIAIOSFODNN7EXAMPLE"])],
		"want": fixture.denied({value("deny", card, ["note"]), value("deny", secret, ["more"])}),
	},
	"shapes that are switched off": {
		"patch": [fixture.set_claim("login", "alice@example.org")],
		"config": {"minimization": {"shapes": {"email": "off"}}},
		"want": fixture.omitting(fixture.allowed, ["login"]),
	},
	"a private key in cnf": {
		"patch": [fixture.set_claim("cnf", {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "x", "d": "d"}})],
		"want": fixture.denied({fixture.deny("minimization.sensitive_value", "has a private or symmetric key in cnf", {"claims": ["cnf"]})}),
	},
	"a public key in cnf": {
		"patch": [fixture.set_claim("cnf", {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "x"}})],
		"want": fixture.allowed,
	},
}

test_sensitive_value[name] if {
	some name, case in value_cases
	got := fixture.decision(json.patch(fixture.access_token, case.patch), object.get(case, "config", {}))
	got == case.want
}

# What each detector recognises, and what is near it and nothing. No value here is anybody's.
recognised := {
	"email": {
		"a@b.example", "first.last+tag@sub.example.org", "mail <a.b@example.org>, please", "USER_1%x@EXAMPLE.ORG", "jürgen@bücher.example",
	},
	"phone": {
		"+31612345678", "+1 202 555 0143", "+44 (20) 7946 0958", "tel +1-202-555-0143.", "+49.30.901820",
	},
	"iban": {
		"GB82WEST12345698765432", "GB82 WEST 1234 5698 7654 32", "NL91ABNA0417164300", "DE89370400440532013000",
		"to NO9386011117947, thanks", "MT84MALT011000012345MTLCAST001S", "FR1420041010050500013M02606",
	},
	"payment_card": {
		"4111111111111111", "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005",
		"6011111111111117", "30569309025904", "3530111333300000", "2223003122003222", "card 4012888888881881!",
	},
	"secret": {
		"-----BEGIN PRIVATE KEY-----\nMC4C", "-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN EC PRIVATE KEY-----",
		"ghp_0123456789abcdefghijklmnopqrstuvwxyz", "glpat-0123456789abcdefghij", "AKIAIOSFODNN7EXAMPLE",
		"sk_live_0123456789abcdefghijklmn", "xoxb-0123456789-abcdef", "hvs.CAESIJ0123456789abcdef",
		"AIza0123456789abcdefghijklmnopqrstuvwxy", "npm_0123456789abcdefghijklmnopqrstuvwxyz",
		"sk_test_0123456789abcdefghijklmn", "-----BEGIN PGP PRIVATE KEY BLOCK-----", "postgres://app:Sw0rdfish@db.example/orders",
		"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "token=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln",
	},
}

innocent := {
	"user-17", "5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82", "0b7a1c1e-3c4d-4f6e-9a8b-2c1d0e9f8a7b",
	"01JDXYZABCDEFGHJKMNPQRSTVW", "spiffe://example.org/orders/worker", "https://acme.example/roles/admin",
	"system:serviceaccount:default:builder", "00uixa271s6x7qt8I0h7", "2026-11-23T18:53:20.000Z", "1795460000",
	"1795460000123", "10.0.0.1", "v1.2.3-rc.1+build.5", "@acme/package", "a@b", "@", "+", "+3.14159265358979", "+52.370216+004.895168/", "ssh://git@git.example.org/a", "DE8937040044053201300",
	"+12 34", "+0123456789",
	"GB82WEST12345698765433", "GB00WEST12345698765432", "NL91ABNA", "4111111111111112", "411111111111",
	"1234567812345670", "9999999999999995", "0000000000000000", "orders:read orders:write", "https://x.example/?q=1+2",
	"-----BEGIN PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----", "ghp_short", "git@github.example:acme/orders.git",
	"eyJ is how tokens begin", "AKIASHORT", "basketball.player-with-a_long_name", "urn:uuid:0b7a1c1e-3c4d-4f6e-9a8b-2c1d0e9f8a7b",
	"arn:aws:iam::123456789012:role/Builder", "CN=worker,OU=orders,O=Acme", "R2D2C3PO", "Mozilla/5.0 (X11; Linux x86_64)",
}

shapes_of(text) := {shape | some shape, _ in recognised; sensitive.has_shape(shape, text)}

test_recognised[text] if {
	some shape, texts in recognised
	some text in texts
	shapes_of(text) == {shape}

	# Whatever a detector recognises, the look beforehand must let through.
	regex.match(data.assay.plain.suspicious, text)
}

test_innocent[text] if {
	some text in innocent
	shapes_of(text) == set()
}
