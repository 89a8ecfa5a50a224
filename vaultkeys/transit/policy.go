package transit

import (
	"fmt"
	"strconv"
	"strings"
)

// Policy is a Vault policy in HCL.
type Policy struct {
	Role Role   `json:"role"`
	Name string `json:"name"`
	HCL  string `json:"hcl"`
}

// Policies renders the policies of the desired roles for a transit engine at mount: what Plan compares
// with and Apply writes, for those who keep theirs elsewhere.
//
// Every rule names one path; there is no glob. What a role may not send is not merely left out: Vault
// compares parameters by type and does not consider their defaults, so a signer must send, and may only
// send, exactly what Sign sends for the key's algorithm, with the key version named.
func (d Desired) Policies(mount string) ([]Policy, error) {
	complete, err := d.complete()
	if err != nil {
		return nil, err
	}
	def(&mount, DefaultMount)
	if err := checkMount(mount); err != nil {
		return nil, err
	}
	var all []Policy
	for _, role := range complete.Roles {
		all = append(all, Policy{Role: role.Role, Name: complete.Prefix + string(role.Role), HCL: complete.render(mount, &role)})
	}
	return all, nil
}

// rule is one path of a policy.
type rule struct {
	path         string
	capabilities []string
	allowed      []parameter
	required     []string
}

// parameter of a request with the values it may have; none: any.
type parameter struct {
	name   string
	values []string // HCL literals
}

func (d *Desired) render(mount string, role *DesiredRole) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Assay's %s. Generated; every path is one that it needs.\n", role.Role)
	rules := []rule{
		{path: "auth/token/lookup-self", capabilities: []string{"read"}},
		{path: "auth/token/renew-self", capabilities: []string{"update"}},
		{path: "auth/token/revoke-self", capabilities: []string{"update"}},
	}
	for _, name := range role.Keys {
		rules = append(rules, role.rules(mount, d.key(name))...)
	}
	for i := range rules {
		rules[i].write(&b)
	}
	return b.String()
}

// rules says what the role may do with a key.
func (r *DesiredRole) rules(mount string, key *DesiredKey) []rule {
	at := mount + "/keys/" + key.Name
	read := rule{path: at, capabilities: []string{"read"}}
	switch r.Role {
	case Decider:
		if key.Decrypts {
			return []rule{read, {
				path: mount + "/decrypt/" + key.Name, capabilities: []string{"update"},
				allowed: []parameter{{name: "ciphertext"}}, required: []string{"ciphertext"},
			}}
		}
		return []rule{read}
	case Issuer:
		return []rule{signing(mount, key)}
	case Notary, Publisher:
		// They work where there is no decider, and need the public key to check what they signed.
		if key.Pseudonyms {
			return []rule{read, {
				path: mount + "/hmac/" + key.Name, capabilities: []string{"update"},
				allowed: []parameter{{name: "input"}, {name: "key_version"}}, required: []string{"input", "key_version"},
			}}
		}
		return []rule{read, signing(mount, key)}
	case Custodian:
		return []rule{
			// Creating is an update to transit. Only the type may be said: no exportable key, no backup. (It
			// cannot be required: Vault then refuses to read.)
			{path: at, capabilities: []string{"create", "read", "update"}, allowed: []parameter{{"type", []string{strconv.Quote(key.Type)}}}},
			{path: at + "/rotate", capabilities: []string{"update"}},
			{path: at + "/config", capabilities: []string{"update"}, allowed: []parameter{{name: "min_decryption_version"}, {name: "min_encryption_version"}}},
			{path: mount + "/keys/" + key.Name + "/trim", capabilities: []string{"update"}, allowed: []parameter{{name: "min_available_version"}}},
		}
	}
	return nil
}

// signing allows exactly the requests that Sign makes for the key's algorithm.
func signing(mount string, key *DesiredKey) rule {
	how, _ := signatures(key.Algorithm)
	r := rule{
		path:         mount + "/sign/" + key.Name,
		capabilities: []string{"update"},
		allowed:      []parameter{{name: "input"}, {name: "batch_input"}, {name: "key_version"}},
		required:     []string{"key_version"},
	}
	r.pin("marshaling_algorithm", `"jws"`)
	if how.hash != 0 {
		r.pin("prehashed", "true")
		r.pin("hash_algorithm", strconv.Quote(how.hashName))
	}
	if how.scheme != "" {
		r.pin("signature_algorithm", strconv.Quote(how.scheme))
	}
	if how.scheme == "pss" {
		r.pin("salt_length", `"hash"`)
	}
	return r
}

// pin demands a parameter with one value.
func (r *rule) pin(name, value string) {
	r.allowed = append(r.allowed, parameter{name, []string{value}})
	r.required = append(r.required, name)
}

func (r *rule) write(b *strings.Builder) {
	fmt.Fprintf(b, "\npath %q {\n  capabilities = [%s]\n", r.path, quoted(r.capabilities))
	if len(r.allowed) > 0 {
		b.WriteString("  allowed_parameters = {\n")
		for _, p := range r.allowed {
			fmt.Fprintf(b, "    %q = [%s]\n", p.name, strings.Join(p.values, ", "))
		}
		b.WriteString("  }\n")
	}
	if len(r.required) > 0 {
		fmt.Fprintf(b, "  required_parameters = [%s]\n", quoted(r.required))
	}
	b.WriteString("}\n")
}

func quoted(words []string) string {
	list := make([]string, len(words))
	for i, word := range words {
		list[i] = strconv.Quote(word)
	}
	return strings.Join(list, ", ")
}
