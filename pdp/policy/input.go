package policy

import (
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
)

// member is one member of an object below input: its name, and how its value is made from the facts. A nil
// value leaves the member out: in Rego absent and empty are different things.
type member[T any] struct {
	name string
	term *ast.Term
	of   func(T) (ast.Value, error)
}

func value[T any](name string, of func(T) ast.Value) member[T] {
	return member[T]{name, ast.StringTerm(name), func(from T) (ast.Value, error) { return of(from), nil }}
}

func text[T any](name string, of func(T) string) member[T] {
	return value(name, func(from T) ast.Value { return stringValue(of(from)) })
}

func tree[T any](name string, of func(T) map[string]any) member[T] {
	return member[T]{name, ast.StringTerm(name), func(from T) (ast.Value, error) {
		object := of(from)
		if object == nil {
			return nil, nil
		}
		converted, err := ast.InterfaceToValue(object)
		if err != nil {
			return nil, fmt.Errorf("policy: input: %s: %w", name, err)
		}
		return converted, nil
	}}
}

func stringValue(s string) ast.Value {
	if s == "" {
		return nil
	}
	return ast.InternedValue(s)
}

// examined is what input.token and input.verification are made of.
type examined struct {
	*pdp.Token
	*pdp.Verification
}

// requestText is a member of input.request that is a string.
type requestText struct {
	name string
	of   func(*pdp.Request) string
}

// The whole of input. These tables are its one definition; a view holds the parts of them that a
// revision's modules read. They are never changed.
var (
	requestTexts = []requestText{
		{"audience", func(r *pdp.Request) string { return r.Audience }},
		{"token_type", func(r *pdp.Request) string { return string(tokenType(r)) }},
		{"action", func(r *pdp.Request) string { return r.Action }},
		{"resource", func(r *pdp.Request) string { return r.Resource }},
		{"method", func(r *pdp.Request) string { return r.Method }},
		{"path", func(r *pdp.Request) string { return r.Path }},
		{"client_ip", func(r *pdp.Request) string { return r.ClientIP }},
		{"purpose", func(r *pdp.Request) string { return r.Purpose }},
		{"caller", func(r *pdp.Request) string { return r.Caller.Name }},
		{"caller_method", func(r *pdp.Request) string { return r.Caller.Method }},
	}
	contextMember = tree("context", func(r *pdp.Request) map[string]any { return r.Context })
	tokenMembers  = []member[examined]{
		value("size", func(e examined) ast.Value { return ast.InternedValue(e.Size) }),
		text("kind", func(e examined) string { return e.Kind }),
		text("alg", func(e examined) string { return e.Header.Algorithm }),
		text("enc", func(e examined) string { return e.Header.Encryption }),
		value("kid", func(e examined) ast.Value {
			if !e.Header.HasKeyID {
				return nil
			}
			return ast.String(e.Header.KeyID)
		}),
		text("typ", func(e examined) string { return e.Header.Type }),
		text("cty", func(e examined) string { return e.Header.ContentType }),
		value("key_references", func(e examined) ast.Value {
			references := make([]*ast.Term, len(e.Header.KeyReferences))
			for i, name := range e.Header.KeyReferences {
				references[i] = ast.InternedTerm(name)
			}
			return ast.NewArray(references...)
		}),
		tree("header", func(e examined) map[string]any { return e.Header.Parameters }),
		tree("claims", func(e examined) map[string]any {
			if !e.Verified() {
				return nil
			}
			return e.Claims
		}),
		text("id", func(e examined) string {
			if !e.Verified() {
				return ""
			}
			return e.ID
		}),
		value("encrypted", func(e examined) ast.Value { return ast.InternedValue(e.Encrypted) }),
	}
	verificationMembers = []member[examined]{
		text("status", func(e examined) string { return string(e.Status) }),
		text("code", func(e examined) string {
			if e.Reason == nil {
				return ""
			}
			return e.Reason.Code
		}),
		text("issuer", func(e examined) string {
			if !e.Verified() {
				return ""
			}
			return e.Trust.Issuer.ID
		}),
		text("alg", func(e examined) string {
			if !e.Verified() {
				return ""
			}
			return e.Algorithm
		}),
		value("key", func(e examined) ast.Value {
			if !e.Verified() {
				return nil
			}
			key, _ := objectOf(keyMembers, e.Key) // has no tree, so it cannot fail
			return key.Value
		}),
	}
	keyMembers = []member[*pdp.Key]{
		text("thumbprint", func(k *pdp.Key) string { return k.Thumbprint }),
		text("kid", func(k *pdp.Key) string { return k.ID }),
		text("kty", (*pdp.Key).Type),
		text("crv", (*pdp.Key).Curve),
		value("bits", func(k *pdp.Key) ast.Value { return ast.InternedValue(k.Bits()) }),
		value("created", func(k *pdp.Key) ast.Value {
			if k.Created.IsZero() {
				return nil
			}
			return ast.InternedValue(k.Created.Unix())
		}),
		text("alg", func(k *pdp.Key) string { return k.Algorithm }),
	}
	revocationMembers = []member[*pdp.Revocation]{
		value("known", func(r *pdp.Revocation) ast.Value { return ast.InternedValue(r.Known) }),
		text("revoked", func(r *pdp.Revocation) string { return r.Revoked }),
		value("age_seconds", func(r *pdp.Revocation) ast.Value {
			if !r.Known {
				return nil
			}
			return ast.InternedValue(r.AgeSeconds)
		}),
	}

	timeTerm         = ast.StringTerm("time")
	requestTerm      = ast.StringTerm("request")
	tokenTerm        = ast.StringTerm("token")
	verificationTerm = ast.StringTerm("verification")
	revocationTerm   = ast.StringTerm("revocation")
)

func tokenType(r *pdp.Request) pdp.TokenType {
	if r.TokenType == "" {
		return pdp.AccessToken
	}
	return r.TokenType
}

// objectOf makes the object of those members that have a value.
func objectOf[T any](members []member[T], from T) (*ast.Term, error) {
	known := make([][2]*ast.Term, 0, len(members))
	for i := range members {
		value, err := members[i].of(from)
		if err != nil {
			return nil, err
		}
		if value != nil {
			known = append(known, [2]*ast.Term{members[i].term, ast.NewTerm(value)})
		}
	}
	return ast.ObjectTerm(known...), nil
}

// view is the part of input that the modules of a revision read. What they do not read is not built.
type view struct {
	request      []member[*pdp.Request]
	token        []member[examined]
	verification []member[examined]
	revocation   []member[*pdp.Revocation]

	// What of a request and of the revocation index a verdict depends on: the members that are strings, whether
	// the context, and whether input.revocation.age_seconds.
	asked        []func(*pdp.Request) string
	context, age bool
	time         bool // set for a Document; a verdict is remembered for its second
}

func viewOf(r *reads) view {
	v := view{
		token:        readOf(r, "token", tokenMembers),
		verification: readOf(r, "verification", verificationMembers),
		revocation:   readOf(r, "revocation", revocationMembers),
		context:      r.any("request", contextMember.name),
		age:          r.any("revocation", "age_seconds"),
	}
	for _, t := range requestTexts {
		if r.any("request", t.name) {
			v.request = append(v.request, text(t.name, t.of))
			v.asked = append(v.asked, t.of)
		}
	}
	if v.context {
		v.request = append(v.request, contextMember)
	}
	return v
}

func readOf[T any](r *reads, object string, members []member[T]) []member[T] {
	return slices.DeleteFunc(slices.Clone(members), func(m member[T]) bool { return !r.any(object, m.name) })
}

// input is the whole input about the facts.
func (v *view) input(f *pdp.Facts) (*ast.Term, error) {
	request, err := objectOf(v.request, f.Request)
	if err != nil {
		return nil, err
	}
	from := examined{f.Token, f.Verification}
	token, err := objectOf(v.token, from)
	if err != nil {
		return nil, err
	}
	verification, err := objectOf(v.verification, from)
	if err != nil {
		return nil, err
	}
	revocation, err := objectOf(v.revocation, &f.Revocation)
	if err != nil {
		return nil, err
	}
	return ast.ObjectTerm(
		[2]*ast.Term{timeTerm, ast.InternedTerm(f.Time)},
		[2]*ast.Term{requestTerm, request},
		[2]*ast.Term{tokenTerm, token},
		[2]*ast.Term{verificationTerm, verification},
		[2]*ast.Term{revocationTerm, revocation},
	), nil
}
