package main

// sentences answer the requirements that ask nothing of a single token.
var sentences = map[string]string{
	"SOC2:CC7.2":      "Asks nothing of a token. Every decision, allow or deny, is handed to the recorder with its reasons before it is answered.",
	"ISO27001:A.5.15": "All rules together, an organisation's own under `assay.rules`, and the floor beneath them.",
	"ISO27001:A.5.33": "Asks nothing of a token: it is asked of the log of decisions.",
	"ISO27001:A.8.15": "Asks nothing of a token: it is asked of the log of decisions, which gets every one of them.",
	"GDPR:5.2":        "Every decision says its reasons, the requirements that each of them serves and the revision of the policy that gave them.",
}
