package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/assaypdp/assay/pdp"
)

// schema is as much of a JSON Schema as these tests look at.
type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	Enum       []string          `json:"enum"`
	OneOf      []schema          `json:"oneOf"`
	Type       string            `json:"type"`
	MaxItems   int               `json:"maxItems"`
	MaxLength  int               `json:"maxLength"`
	Additional *bool             `json:"additionalProperties"`
}

type document struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		Security    []map[string]any `json:"security"`
		RequestBody *struct{}        `json:"requestBody"`
		Responses   map[string]any   `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas   map[string]schema `json:"schemas"`
		Responses map[string]struct {
			Content map[string]struct {
				Schema struct {
					AllOf []schema `json:"allOf"`
				} `json:"schema"`
			} `json:"content"`
		} `json:"responses"`
	} `json:"components"`
}

func readDescription(t *testing.T) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(description, &d); err != nil {
		t.Fatal(err)
	}
	if d.OpenAPI != "3.1.0" {
		t.Errorf("openapi %s", d.OpenAPI)
	}
	return d
}

func (d *document) resolve(s schema) schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return d.Components.Schemas[name]
	}
	return s
}

func TestDescriptionHasEveryRoute(t *testing.T) {
	d := readDescription(t)
	a, err := New(Config{Decider: noDecider{}, Issuer: noIssuer{}, Revocations: noRevocations{}, Examiner: noExaminer{}, Events: noEvents{},
		Issuers: []PublishedIssuer{{Issuer: "https://assay.example", Name: "access"}}})
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, r := range a.routes {
		served[r.method+" "+r.path] = true
		operation, ok := d.Paths[r.path][strings.ToLower(r.method)]
		if !ok {
			t.Errorf("%s %s is not described", r.method, r.path)
			continue
		}
		var schemes []string
		for _, requirement := range operation.Security {
			if len(requirement) == 0 {
				schemes = append(schemes, "none")
			}
			for name := range requirement {
				schemes = append(schemes, name)
			}
		}
		want := map[door][]string{public: {"none"}, openable: {"mutualTLS", "bearer", "none"}, closed: {"mutualTLS", "bearer"}}[r.door]
		if !slices.Equal(schemes, want) {
			t.Errorf("%s %s: security %v, want %v", r.method, r.path, schemes, want)
		}
		if (operation.RequestBody != nil) != (r.method == http.MethodPost) {
			t.Errorf("%s %s: request body %v", r.method, r.path, operation.RequestBody != nil)
		}
		if _, ok := operation.Responses["403"]; ok != (r.door != public) {
			t.Errorf("%s %s: has 403: %v", r.method, r.path, ok)
		}
	}
	for path, operations := range d.Paths {
		for method := range operations {
			if !served[strings.ToUpper(method)+" "+path] {
				t.Errorf("%s %s is described and not served", method, path)
			}
		}
	}
}

func TestDescriptionHasEveryProblem(t *testing.T) {
	d := readDescription(t)
	byStatus := map[string][]string{}
	var all []string
	for _, p := range problemTypes() {
		status := fmt.Sprint(p.status)
		byStatus[status] = append(byStatus[status], problemPrefix+p.name)
		all = append(all, problemPrefix+p.name)
	}
	if got := d.Components.Schemas["Problem"].Properties["type"].Enum; !slices.Equal(got, all) {
		t.Errorf("types\n%v, want\n%v", got, all)
	}
	for status, want := range byStatus {
		all := d.Components.Responses[status].Content["application/problem+json"].Schema.AllOf
		if len(all) != 2 || !slices.Equal(all[1].Properties["type"].Enum, want) {
			t.Errorf("%s: %v, want %v", status, all, want)
		}
	}
	if len(d.Components.Responses) != len(byStatus) {
		t.Errorf("%d responses for %d statuses", len(d.Components.Responses), len(byStatus))
	}
	full := &problem{problemType: tokenRefused, pointer: "/x", missing: []string{"x"}}
	d.holds(t, "Problem", full.appendJSON(nil, "id"))
}

// holds fails unless the object has exactly the members of the named schema.
func (d *document) holds(t *testing.T, name string, object []byte) {
	t.Helper()
	var value any
	if err := json.Unmarshal(object, &value); err != nil {
		t.Fatal(err)
	}
	d.compare(t, name, d.Components.Schemas[name], value)
}

func (d *document) compare(t *testing.T, at string, s schema, value any) {
	t.Helper()
	s = d.resolve(s)
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if property, ok := s.Properties[name]; ok {
				d.compare(t, at+"."+name, property, inner)
			} else if len(s.Properties) > 0 {
				t.Errorf("%s.%s is not described", at, name)
			}
		}
		for name := range s.Properties {
			if _, ok := v[name]; !ok {
				t.Errorf("%s.%s is described and missing", at, name)
			}
		}
	case []any:
		for _, inner := range v {
			d.compare(t, at+"[]", *s.Items, inner)
		}
	case string:
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
			t.Errorf("%s: %q is not described", at, v)
		}
	}
}

func TestDescriptionHasEveryAnswer(t *testing.T) {
	d := readDescription(t)
	expires := pdp.UnixDate(1)
	decision := &pdp.Decision{
		ID: "a", Allow: true, Reasons: []pdp.Reason{{Code: "a.b", Severity: pdp.Low, Enforcement: pdp.Warn}},
		Token: pdp.TokenSummary{
			Status: pdp.StatusVerified, Kind: "nested", Algorithm: "ES256", KeyID: "k", Type: "jwt", Issuer: "i", TokenID: "t", ExpiresAt: &expires,
		},
		Obligations: pdp.Obligations{OmitClaims: []string{"email"}}, EvaluatedAt: time.Unix(0, 0), Receipt: &pdp.Receipt{Log: "l", Index: 1},
	}
	body, err := decision.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	d.holds(t, "Decision", body)
	d.holds(t, "BatchAnswer", slices.Concat([]byte(`{"items":[`), body, []byte(`]}`)))
	statuses := []string{
		string(pdp.StatusMalformed), string(pdp.StatusUnsupported), string(pdp.StatusUndecryptable), string(pdp.StatusIssuerUntrusted),
		string(pdp.StatusAlgorithmRefused), string(pdp.StatusKeyUnknown), string(pdp.StatusSignatureInvalid), string(pdp.StatusVerified),
	}
	if got := d.Components.Schemas["Decision"].Properties["token"].Properties["status"].Enum; !slices.Equal(got, statuses) {
		t.Errorf("statuses %v", got)
	}
}

// TestDescriptionHasEveryMember writes a body from each described request and expects it to be read, then
// the same with one member more.
func TestDescriptionHasEveryMember(t *testing.T) {
	d := readDescription(t)
	types := make([]string, 0, 6)
	for _, known := range pdp.TokenTypes() {
		types = append(types, string(known))
	}
	reads := map[string]func(*decoder) error{
		"DecideRequest": func(d *decoder) error { return d.decide(&pdp.Request{}) },
		"BatchRequest":  func(d *decoder) error { _, err := d.batch(DefaultMaxBatch); return err },
		"TokenOrder":    func(d *decoder) error { return d.order(&TokenOrder{}) },
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			var decoder decoder
			s := d.Components.Schemas[name]
			body, err := json.Marshal(d.example(name, s))
			if err != nil {
				t.Fatal(err)
			}
			decoder.reset(body)
			if err := read(&decoder); err != nil {
				t.Fatalf("%s is refused: %v", body, err)
			}
			d.walk(s, func(s schema) {
				if s.Type == "object" && len(s.Properties) > 0 && (s.Additional == nil || *s.Additional) {
					t.Errorf("further members are described as possible beside %v", s.Properties)
				}
				if s.Type == "string" && s.MaxLength != maxString && s.MaxLength != 0 {
					t.Errorf("maxLength %d, limit %d", s.MaxLength, maxString)
				}
				if len(s.Enum) > 0 && !slices.Equal(s.Enum, types) {
					t.Errorf("token types %v", s.Enum)
				}
			})
		})
	}
	if got := d.Components.Schemas["BatchRequest"].Properties["items"].MaxItems; got != DefaultMaxBatch {
		t.Errorf("maxItems %d", got)
	}
	if !bytes.Contains(description, fmt.Appendf(nil, "(%d bytes)", DefaultMaxBody)) {
		t.Error("the limit of the body is not the described one")
	}
	for _, member := range []string{"token", "request", "purpose", "context", "audience", "token_type", "action", "resource", "method", "path", "client_ip"} {
		request := d.Components.Schemas["DecideRequest"].Properties
		_, outer := request[member]
		if _, inner := request["request"].Properties[member]; !outer && !inner {
			t.Errorf("the member %s is read and not described", member)
		}
	}
	for i := range reflect.TypeFor[TokenOrder]().NumField() {
		field := reflect.TypeFor[TokenOrder]().Field(i).Name
		member := map[string]string{"TokenType": "token_type", "ClientID": "client_id", "LifetimeSeconds": "lifetime_seconds", "MaxLifetimeSeconds": ""}
		name, special := member[field]
		if !special {
			name = strings.ToLower(field)
		}
		if _, ok := d.Components.Schemas["TokenOrder"].Properties[name]; !ok && name != "" {
			t.Errorf("the order's %s is not described", field)
		}
	}
}

func (d *document) walk(s schema, visit func(schema)) {
	s = d.resolve(s)
	visit(s)
	for _, property := range s.Properties {
		d.walk(property, visit)
	}
	if s.Items != nil {
		d.walk(*s.Items, visit)
	}
}

func (d *document) example(name string, s schema) any {
	s = d.resolve(s)
	switch {
	case name == "client_ip":
		return "192.0.2.7"
	case len(s.Enum) > 0:
		return s.Enum[0]
	case len(s.OneOf) > 0:
		return d.example(name, s.OneOf[len(s.OneOf)-1])
	case s.Type == "object":
		object := map[string]any{}
		for name, property := range s.Properties {
			object[name] = d.example(name, property)
		}
		return object
	case s.Type == "array":
		return []any{d.example(name, *s.Items)}
	case s.Type == "integer":
		return 1
	}
	return "x"
}

// FuzzDecodeRequest: the decoder refuses with a problem of the caller's making or agrees with
// encoding/json on every value.
func FuzzDecodeRequest(f *testing.F) {
	for _, seed := range []string{
		`{"token":"a"}`, `{"token":"a","request":{"audience":"o","token_type":"id_token","client_ip":"::1"},"purpose":"p","context":{"a":[1,null,{"b":1e3}]}}`,
		`{"token":"\ud83d\ude00\u0000"}`, `{"token":"a","token":"b"}`, `{"token":"\ud800"}`, "{\"token\":\"\xff\"}", `{"tokEn":"a"}`, `[]`, ``, `{"token":"a"} x`,
		`{"token":"a","request":{"method":"\\","path":"/\"","resource":"","action":"x"}}`,
	} {
		f.Add([]byte(seed))
	}
	var reused decoder
	f.Fuzz(func(t *testing.T, body []byte) {
		original := bytes.Clone(body)
		var got pdp.Request
		reused.reset(body)
		err := reused.decide(&got)
		if !bytes.Equal(body, original) {
			t.Fatal("the body was changed")
		}
		var fresh decoder
		var again pdp.Request
		fresh.reset(body)
		if errAgain := fresh.decide(&again); fmt.Sprint(errAgain) != fmt.Sprint(err) || !reflect.DeepEqual(again, got) {
			t.Fatalf("used again it reads differently: %v and %v", err, errAgain)
		}
		if err != nil {
			p, ok := errors.AsType[*problem](err)
			if !ok || p.status != http.StatusBadRequest || !utf8.ValidString(p.detail) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		var want struct {
			Token   *string `json:"token"`
			Request struct {
				Audience  string        `json:"audience"`
				TokenType pdp.TokenType `json:"token_type"`
				Action    string        `json:"action"`
				Resource  string        `json:"resource"`
				Method    string        `json:"method"`
				Path      string        `json:"path"`
				ClientIP  string        `json:"client_ip"`
			} `json:"request"`
			Purpose string         `json:"purpose"`
			Context map[string]any `json:"context"`
		}
		reference := json.NewDecoder(bytes.NewReader(body))
		reference.DisallowUnknownFields()
		reference.UseNumber()
		if err := reference.Decode(&want); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if want.Token == nil {
			t.Fatal("accepted without token")
		}
		same := pdp.Request{
			Token: *want.Token, Audience: want.Request.Audience, TokenType: want.Request.TokenType, Action: want.Request.Action,
			Resource: want.Request.Resource, Method: want.Request.Method, Path: want.Request.Path, ClientIP: want.Request.ClientIP,
			Purpose: want.Purpose, Context: want.Context,
		}
		if !reflect.DeepEqual(got, same) {
			t.Fatalf("read %+v\nwant %+v", got, same)
		}
	})
}
