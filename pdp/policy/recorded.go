package policy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
)

// Recorded is a Revision that judges input documents which were written down, rather than facts. It is for tools, and is
// safe for concurrent use.
type Recorded struct {
	r *Revision
	// all is what is read of input by everything that the decision depends on, foreign by those modules that are not
	// the library's.
	all, foreign reads
	// members are those of input that the decision depends on, and, where it depends only on some members of such a
	// member, the names of these.
	members map[string]map[string]bool
}

// Recorded prepares a revision for recorded inputs. library holds the texts of the modules whose ways are known; every
// other module is foreign.
func (r *Revision) Recorded(library map[string][]byte) *Recorded {
	known := make(map[[sha256.Size]byte]bool, len(library))
	for _, text := range library {
		known[sha256.Sum256(text)] = true
	}
	var foreign []*ast.Rule
	beyond := false
	for name, module := range r.compiler.Modules {
		if known[r.texts[name]] {
			continue
		}
		foreign = append(foreign, module.Rules...)
		beyond = beyond || takesFromOthers(module)
	}
	f := &Recorded{r: r, all: readsFor(r.compiler, ast.MustParseRef(Entrypoint)), foreign: readsOfRules(foreign)}
	f.foreign.all = f.foreign.all || beyond
	f.members = f.all.members()
	return f
}

// takesFromOthers tells whether a module reads documents that other modules make, which may hold anything of input. What
// is configured, and limits, which are numbers, are not meant.
func takesFromOthers(module *ast.Module) bool {
	assay := ast.MustParseRef("data.assay")
	found := false
	ast.WalkRefs(module, func(ref ast.Ref) bool {
		if !ref.HasPrefix(assay) || ref.HasPrefix(module.Package.Path) {
			return false
		}
		if len(ref) < 3 {
			found = true
			return true
		}
		name, _ := ref[2].Value.(ast.String)
		found = found || name != "config" && name != "limits"
		return found
	})
	return found
}

// ID is the revision's.
func (f *Recorded) ID() string { return f.r.id }

// Reads tells whether the decision depends on anything that reads something at, above or below a path of input.
func (f *Recorded) Reads(path ...string) bool { return f.all.any(path...) }

// ForeignReads tells the same of modules that are not the library's.
func (f *Recorded) ForeignReads(path ...string) bool { return f.foreign.any(path...) }

// read gives the part of an input that the decision depends on.
func (f *Recorded) read(input map[string]any) map[string]any {
	if f.all.all {
		return input
	}
	part := make(map[string]any, len(f.members))
	for name, only := range f.members {
		value, there := input[name]
		if !there {
			continue
		}
		object, isObject := value.(map[string]any)
		if only == nil || !isObject {
			part[name] = value
			continue
		}
		inner := make(map[string]any, len(only))
		for name, value := range object {
			if only[name] {
				inner[name] = value
			}
		}
		part[name] = inner
	}
	return part
}

// AppendKey writes down what the decision depends on in an input beside its time: two inputs with the same key give the
// same verdict at the same second.
func (f *Recorded) AppendKey(key []byte, input map[string]any) []byte {
	part := f.read(input)
	if _, there := part["time"]; there {
		part = maps.Clone(part)
		delete(part, "time")
	}
	return appendValue(key, part)
}

// Evaluate gives the verdict about an input document of the types that strictjson decodes, as Engine.Evaluate gives it
// about facts, without its bounds. Its UnchangedUntil may be believed. The error says that ctx ended, or that the document
// is none.
func (f *Recorded) Evaluate(ctx context.Context, input map[string]any, second int64) (pdp.Verdict, error) {
	value, err := ast.InterfaceToValue(f.read(input))
	if err != nil {
		return pdp.Verdict{}, fmt.Errorf("policy: input: %w", err)
	}
	now := time.Now()
	// The deadline never comes: the clock that it is held against stands still.
	cut := &cutOff{ctx: ctx, now: func() time.Time { return now }, deadline: now}
	verdict, err := f.r.verdict(ctx, cut, second, ast.NewTerm(value))
	if ctx.Err() != nil {
		return pdp.Verdict{}, context.Cause(ctx)
	}
	if err == nil {
		if !f.r.settles {
			verdict.UnchangedUntil = 0
		}
		return verdict, nil
	}
	reasons := verdict.Reasons
	reason := pdp.NewFloorReason("policy.failed", "the policy could not be evaluated", nil)
	if errors.Is(err, ErrUndefined) {
		reason = pdp.NewFloorReason("policy.undefined", "the policy gave no usable verdict", nil)
	}
	return pdp.Verdict{Reasons: append([]pdp.Reason{*reason}, reasons...), Revision: f.r.id, Words: f.r.words}, nil
}

// Texts are all texts in the documents of data, values and names, beside those of other documents, sorted.
func (f *Recorded) Texts(beside map[string]any) []string {
	known, found := make(map[string]bool), make(map[string]bool)
	if other, err := ast.InterfaceToValue(beside); err == nil { // what has no value has no texts
		textsIn(other, known)
	}
	textsIn(f.r.base.documents, found)
	maps.DeleteFunc(found, func(text string, _ bool) bool { return known[text] })
	return slices.Sorted(maps.Keys(found))
}

func textsIn(value ast.Value, into map[string]bool) {
	switch v := value.(type) {
	case ast.String:
		into[string(v)] = true
	case *ast.Array:
		v.Foreach(func(element *ast.Term) { textsIn(element.Value, into) })
	case ast.Object:
		v.Foreach(func(name, member *ast.Term) {
			textsIn(name.Value, into)
			textsIn(member.Value, into)
		})
	}
}
