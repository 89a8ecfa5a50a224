package policy

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
)

// Revision is a compiled policy with its data. It is immutable and safe for concurrent use.
type Revision struct {
	id       string
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction          // shared by all evaluations; the store is never written
	texts    map[string][sha256.Size]byte // digests of the modules' texts
	base     base

	question // for Entrypoint
	view     view
	// remembers tells that verdicts may be remembered: no module takes input as a whole.
	remembers bool
	// settles tells that the policy may say for how long time alone does not change a verdict: the modules that
	// say so are the library's, and nothing else reads the time.
	settles bool

	words *words

	// claims are those that the last verdict released: most verdicts release the same, and then share them.
	claims atomic.Pointer[[][]string]
}

// shared gives equal claims that another verdict has already, or else these.
func (r *Revision) shared(claims [][]string) [][]string {
	if last := r.claims.Load(); last != nil && slices.EqualFunc(*last, claims, slices.Equal[[]string]) {
		return *last
	}
	r.claims.Store(&claims)
	return claims
}

// ID is a digest over all modules, data, configuration and capabilities: 43 characters of base64url. Equal
// sources have equal ids, in whatever order they are given.
func (r *Revision) ID() string { return r.id }

func newRevision(ctx context.Context, id string, compiler *ast.Compiler, store storage.Store, txn storage.Transaction) (*Revision, error) {
	reads := readsFor(compiler, ast.MustParseRef(Entrypoint))
	r := &Revision{id: id, compiler: compiler, store: store, txn: txn, view: viewOf(&reads), remembers: !reads.all, settles: onlyLibraryReadsTime(compiler)}
	root, err := store.Read(ctx, txn, storage.RootPath)
	if err != nil {
		return nil, fmt.Errorf("policy: reading the data: %w", err)
	}
	documents, ok := root.(ast.Object)
	if !ok {
		return nil, errors.New("policy: the store gives its data in another form than it was asked for")
	}
	r.base, r.words = base{documents}, wordsOf(compiler, documents)
	r.question, err = ask(compiler, Entrypoint)
	return r, err
}

// base answers what the evaluator reads of data from the documents in memory. In the place of OPA's own cache,
// which copies what it reads into a tree anew for every evaluation, it can be shared: it never changes.
type base struct{ documents ast.Object }

// Get gives the document at ref, or nil to have the evaluator look itself.
func (b base) Get(ref ast.Ref) ast.Value {
	value, err := b.documents.Find(ref[1:])
	if err != nil {
		return nil
	}
	return value
}

// Put has nothing to do.
func (base) Put(ast.Ref, ast.Value) {}

// digest is the revision's id. Each part is preceded by its length, so that no two sources read alike.
func digest(modules map[string][]byte, data map[string]any, capabilities *ast.Capabilities) (string, error) {
	sum := sha256.New()
	part(sum, []byte("assay policy revision 1"))
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		part(sum, []byte(name))
		part(sum, modules[name])
	}
	// encoding/json sorts the members of maps, and a json.Number stays the text that it was.
	for _, document := range []any{data, capabilities} {
		text, err := json.Marshal(document)
		if err != nil {
			return "", fmt.Errorf("policy: %w", err)
		}
		part(sum, text)
	}
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)), nil
}

func part(sum hash.Hash, content []byte) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(content)))
	_, _ = sum.Write(length[:]) // a hash does not fail
	_, _ = sum.Write(content)
}
