package masking

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/plugins"
	"github.com/open-policy-agent/opa/v1/plugins/logs"
	"github.com/open-policy-agent/opa/v1/server"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// keeper is where OPA's decision log puts its events.
type keeper struct{ events []logs.EventV1 }

func (*keeper) Start(context.Context) error      { return nil }
func (*keeper) Stop(context.Context)             {}
func (*keeper) Reconfigure(context.Context, any) {}
func (k *keeper) Log(_ context.Context, e logs.EventV1) error {
	k.events = append(k.events, e)
	return nil
}

// opaLogs has OPA's own plugin log one decision under a module, and gives the event's text; none where it was dropped.
func opaLogs(t *testing.T, module string, input any) string {
	t.Helper()
	store := inmem.New()
	parsed, err := ast.ParseModule("log.rego", module)
	if err != nil {
		t.Fatal(err)
	}
	manager, err := plugins.New([]byte("{}"), "opa", store, plugins.InitFiles(loader.Result{
		Modules: map[string]*loader.RegoFile{"log.rego": {Name: "log.rego", Parsed: parsed, Raw: []byte(module)}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := &keeper{}
	manager.Register("keeper", kept)
	config, err := logs.ParseConfig([]byte(`{"plugin": "keeper"}`), nil, []string{"keeper"})
	if err != nil {
		t.Fatal(err)
	}
	txn := storage.NewTransactionOrDie(t.Context(), store)
	defer store.Abort(t.Context(), txn)
	asked, err := ast.InterfaceToValue(input)
	if err != nil {
		t.Fatal(err)
	}
	if err := logs.New(config, manager).Log(t.Context(), &server.Info{Txn: txn, Path: "assay/decision", Input: &input, InputAST: asked}); err != nil {
		t.Logf("OPA says: %v", err)
	}
	if len(kept.events) == 0 {
		return ""
	}
	text, err := json.Marshal(kept.events[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWhereOPADropsOrLeaks runs masks by which OPA's own decision log loses the event, or writes what should have been
// masked, and asks that here the record is kept, without it.
func TestWhereOPADropsOrLeaks(t *testing.T) {
	const address = "alice@canary.example"
	for name, c := range map[string]struct {
		mask  string
		leaks bool // OPA writes the address; else it writes nothing at all
	}{
		"undefined":             {mask: "mask := [\"/input/token/claims/mail address\"] if input.input.token.kind == \"none\"", leaks: true},
		"a failing builtin":     {mask: "mask contains \"/input/token/claims/mail address\" if to_number(input.input.token.claims[\"mail address\"]) > 0", leaks: true},
		"conflicting":           {mask: "mask := [\"/input\"]\nmask := [\"/result\"]"},
		"a path elsewhere":      {mask: "mask contains \"/labels/id\""},
		"an unknown operation":  {mask: "mask contains {\"op\": \"hash\", \"path\": \"/input/token/claims/sub\"}"},
		"a name with a space":   {mask: "mask contains \"/input/token/claims/mail address\"", leaks: true},
		"a computed upsert":     {mask: "mask contains {\"op\": \"upsert\", \"path\": \"/input/token/claims/mail address\", \"value\": input.input.token.claims[\"mail address\"]}", leaks: true},
		"everything is dropped": {mask: "drop := true"},
	} {
		t.Run(name, func(t *testing.T) {
			module := "package system.log\n\n" + c.mask + "\n"
			theirs := opaLogs(t, module, map[string]any{"token": map[string]any{"kind": "jws", "claims": map[string]any{"mail address": address}}})
			if leaked := strings.Contains(theirs, address); leaked != c.leaks || !c.leaks && theirs != "" {
				t.Errorf("OPA behaves in another way than this test is about: %q", theirs)
			}
			m, _ := masker(t, compiled(t, with(map[string]string{
				"mask.rego": "package assay.audit\n\nmask := {\"clear\": [[\"mail address\"]]}\n", "log.rego": module,
			})))
			f, d := facts(t, map[string]any{"mail address": address})
			mask, err := m.Mask(t.Context(), f, d)
			switch {
			case name == "everything is dropped": // there is no rule against the address here, but a record
				if err != nil || len(mask.Clear) != 1 {
					t.Errorf("%+v, %v", mask, err)
				}
			case err != nil:
				if mask.Clear != nil {
					t.Errorf("a mask that failed clears %v", mask.Clear)
				}
			case len(mask.Remove) != 1 || mask.Remove[0] != "/input/token/claims/mail address":
				t.Errorf("the address would be written: %+v", mask)
			}
		})
	}
}
