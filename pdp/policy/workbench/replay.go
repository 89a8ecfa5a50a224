package workbench

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// Finding is what a reason says and does.
type Finding struct{ Code, Enforcement string }

// Answer is what of a decision is compared with another: the answer and its findings, sorted.
type Answer struct {
	Allow    bool
	Findings []Finding
}

// Equal tells whether two answers are the same.
func (a Answer) Equal(b Answer) bool {
	return a.Allow == b.Allow && slices.Equal(a.Findings, b.Findings)
}

// Record is a decision that was written down.
type Record struct {
	// Input is policy's input as far as it was written, of the types that strictjson decodes. It is not changed.
	Input map[string]any
	// Erased and Masked are JSON pointers (RFC 6901) from "/input" to what was not written, and to what was written as a
	// pseudonym. Unnamed tells that more was erased whose name is not known.
	Erased, Masked []string
	Unnamed        bool
	// Was is the decision. Floor are the codes of the vetoes of Go's floor, which no policy lifts.
	Was   Answer
	Floor []string
	// Revision is that of the policy that decided.
	Revision string
}

// Replayed is what another policy would have made of a recorded decision.
type Replayed struct {
	// Undecidable names, with dots, what the other policy's answer depends on and the record does not hold. There is no
	// Answer then.
	Undecidable []string
	Answer      Answer
}

// ReplayConfig of a Replay.
type ReplayConfig struct {
	// Candidate is the policy to judge by; required.
	Candidate *policy.Revision
	// Baseline may be nil. A record of its revision says, by what was found then, something about the values that it
	// does not hold.
	Baseline *policy.Revision
	// Library and Defaults are the policy library that is known: its modules, and its configuration, a JSON object.
	Library  map[string][]byte
	Defaults []byte
}

// Replay judges recorded decisions again under another policy. It is safe for concurrent use.
//
// Where a record does not hold a value that the policy looks at, the answer is looked for with stand-ins in its place:
// an ordinary text, texts that the library's detectors recognise, other types, and every text that is configured. (A
// foreign module that reads the value might ask anything of it: no stand-in is tried then.) Those stand-ins are dropped
// with which the policy of then would not have decided as it is recorded. If what is left gives one and the same
// answer, the value does not matter; else the answer cannot be told.
//
// What was found out about one record is remembered, within bounds, for all that are of its kind, and a verdict for as
// long as the policy says that time alone does not change it.
type Replay struct {
	c                   ReplayConfig
	candidate, baseline *policy.Recorded
	constants           []string
	tooMany             bool // to try them all, so nothing is tried

	known insights
	said  *verdicts // the candidate's
}

// mostConstants: past so many configured texts nothing is tried.
const mostConstants = 1000

// NewReplay prepares.
func NewReplay(c ReplayConfig) (*Replay, error) {
	r := &Replay{c: c, candidate: c.Candidate.Recorded(c.Library), known: insights{known: make(map[digest]*lookedInto)}, said: newVerdicts()}
	defaults, err := readObject(c.Defaults)
	if err != nil {
		return nil, fmt.Errorf("the library's configuration: %w", err)
	}
	beside := map[string]any{"assay": map[string]any{"config": defaults}}
	texts := r.candidate.Texts(beside)
	if c.Baseline != nil {
		r.baseline = c.Baseline.Recorded(c.Library)
		texts = append(texts, r.baseline.Texts(beside)...)
	}
	for _, text := range slices.Clone(texts) {
		if matching, known := matchOf(text); known {
			texts = append(texts, matching)
		} else {
			r.tooMany = true // there is a pattern that nothing is known to match
		}
	}
	slices.Sort(texts)
	r.constants = slices.Compact(texts)
	r.tooMany = r.tooMany || len(r.constants) > mostConstants
	return r, nil
}

// Judge gives the candidate's answer. Its error is that of the context, or says that the record is none.
func (r *Replay) Judge(ctx context.Context, record *Record) (*Replayed, error) {
	if record.Revision == r.candidate.ID() && (len(record.Erased) > 0 || len(record.Masked) > 0 || record.Unnamed) {
		return &Replayed{Answer: record.Was}, nil // the very policy, on the very facts
	}
	hidden, names := r.hiddenIn(record)
	if len(names) > 0 {
		return &Replayed{Undecidable: names}, nil
	}
	whole := completed(record.Input)
	if len(hidden) == 0 {
		answer, err := r.recalled(ctx, record, whole)
		return &Replayed{Answer: answer}, err
	}
	plain := filled(whole, hidden)
	answer, err := r.recalled(ctx, record, plain)
	if err != nil {
		return nil, err
	}
	found, err := r.insight(ctx, record, whole, hidden, answer)
	if err != nil {
		return nil, err
	}
	switch {
	case len(found.undecidable) > 0:
		return &Replayed{Undecidable: found.undecidable}, nil
	case found.by.value != nil:
		answer, err = r.recalled(ctx, record, filled(whole, hidden, found.by))
	}
	return &Replayed{Answer: answer}, err
}

// hiddenIn gives what of a record's input is hidden, looked at by the candidate and can be stood in for; and the names
// of what cannot.
func (r *Replay) hiddenIn(record *Record) (hidden []hiddenValue, names []string) {
	for i, pointers := range [][]string{record.Erased, record.Masked} {
		for _, pointer := range pointers {
			path, ok := inputPath(pointer)
			if !ok || !r.candidate.Reads(path...) {
				continue
			}
			if r.tooMany || r.candidate.ForeignReads(path...) || !canStandIn(path) {
				names = append(names, strings.Join(path, "."))
				continue
			}
			hidden = append(hidden, hiddenValue{path: path, name: strings.Join(path, "."), text: i == 1})
		}
	}
	// A name that nobody can have, so that it stands for those that are not known.
	if record.Unnamed && r.candidate.Reads("token", "claims", "\x00") {
		names = append(names, "token.claims (claims whose names are not recorded)")
	}
	if r.candidate.Reads("token", "header") {
		names = append(names, "token.header (is never recorded)")
	}
	slices.Sort(names)
	slices.SortStableFunc(hidden, func(a, b hiddenValue) int { return comparePaths(a.path, b.path) })
	return hidden, slices.Compact(names)
}

// inputPath reads a pointer below /input.
func inputPath(pointer string) ([]string, bool) {
	rest, ok := strings.CutPrefix(pointer, "/input/")
	if !ok {
		return nil, false
	}
	path := strings.Split(rest, "/")
	for i, name := range path {
		path[i] = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
	}
	return path, true
}

// canStandIn tells whether a value at the path can be tried out: a claim that is no date, or a text about token or request.
func canStandIn(path []string) bool {
	switch {
	case len(path) == 2 && path[0] == "token":
		return slices.Contains([]string{"alg", "enc", "kid", "typ", "cty", "id"}, path[1])
	case len(path) == 3 && path[0] == "token" && path[1] == "claims":
		return !slices.Contains([]string{"exp", "nbf", "iat", "auth_time"}, path[2])
	case len(path) > 3 && path[0] == "token" && path[1] == "claims":
		return true
	}
	return len(path) >= 2 && path[0] == "request"
}

// answer judges one input by one policy, over Go's floor.
func (r *Replay) answer(ctx context.Context, by *policy.Recorded, record *Record, input map[string]any) (Answer, error) {
	second, err := secondOf(input)
	if err != nil {
		return Answer{}, err
	}
	v, err := by.Evaluate(ctx, input, second)
	if err != nil {
		return Answer{}, err
	}
	return answerOf(judgedOf(&v), vetoes(record, input)), nil
}

// recalled is answer by the candidate, from memory where that is the same.
func (r *Replay) recalled(ctx context.Context, record *Record, input map[string]any) (Answer, error) {
	second, err := secondOf(input)
	if err != nil {
		return Answer{}, err
	}
	key := sha256.Sum256(r.candidate.AppendKey(nil, input))
	said, known := r.said.recall(key, second)
	if !known {
		v, err := r.candidate.Evaluate(ctx, input, second)
		if err != nil {
			return Answer{}, err
		}
		said = judgedOf(&v)
		r.said.remember(key, said, second, v.UnchangedUntil)
	}
	return answerOf(said, vetoes(record, input)), nil
}

// secondOf is the time of an input; 0 where it has none.
func secondOf(input map[string]any) (int64, error) {
	n, ok := input["time"].(json.Number)
	if !ok {
		return 0, nil
	}
	second, err := n.Int64()
	if err != nil {
		return 0, fmt.Errorf("the record's time is no whole number of seconds: %w", err)
	}
	return second, nil
}

// vetoes are the codes that Go's floor gave.
func vetoes(record *Record, input map[string]any) []string {
	verification, _ := input["verification"].(map[string]any)
	if verification["status"] == string(pdp.StatusVerified) {
		return record.Floor
	}
	if code, ok := verification["code"].(string); ok {
		return []string{code}
	}
	return []string{"signature.invalid"}
}

// SortFindings puts findings in the order in which answers hold them.
func SortFindings(f []Finding) {
	slices.SortFunc(f, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Enforcement, b.Enforcement))
	})
}

// completed adds what a record leaves out because it is the same as nothing.
func completed(input map[string]any) map[string]any {
	token, _ := input["token"].(map[string]any)
	whole, filledToken := maps.Clone(input), maps.Clone(token)
	if filledToken == nil {
		filledToken = make(map[string]any)
	}
	if _, there := filledToken["key_references"]; !there {
		filledToken["key_references"] = []any{}
	}
	if _, there := filledToken["encrypted"]; !there {
		filledToken["encrypted"] = false
	}
	whole["token"] = filledToken
	return whole
}
