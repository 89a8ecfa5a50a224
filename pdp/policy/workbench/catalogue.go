package workbench

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/assaypdp/assay/pdp/policy"
)

// Entry is a rule as a catalogue lists it.
type Entry struct {
	Rule
	// Own tells that it is not the library's.
	Own bool
	// Configured is the mode that the configuration in force says for everyone, empty where it says none. Issuers and
	// profiles may say otherwise.
	Configured string
}

// Catalogue lists every rule of a policy by code, package and title, from metadata alone. Its errors are those of
// policy.Compile.
func Catalogue(ctx context.Context, p Policy) ([]Entry, error) {
	if _, err := policy.Compile(ctx, p.Source); err != nil {
		return nil, err
	}
	draft, err := policy.NewDraft(ctx, p.Source, nil)
	if err != nil {
		return nil, err
	}
	assay, _ := draft.Data["assay"].(map[string]any)
	config, _ := assay["config"].(map[string]any)
	modes, _ := config["modes"].(map[string]any)
	var entries []Entry
	for name, module := range draft.Modules {
		rules, err := RulesOf(module)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, rule := range rules {
			configured, _ := modes[rule.Code].(string)
			entries = append(entries, Entry{rule, p.Own[name], configured})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Package, b.Package), cmp.Compare(a.Title, b.Title), cmp.Compare(a.Line, b.Line))
	})
	return entries, nil
}
