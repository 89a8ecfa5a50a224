package masking

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// The documents that are asked for.
const (
	Entrypoint = "data.assay.audit.mask"
	Usual      = "data.assay.audit.usual"
	LogMask    = "data.system.log.mask"
	// Problems is the document in which the library says what is wrong with the configuration of the mask.
	Problems = "data.assay.audit.problems"
)

// Mask says what may be written of one decision. The zero value allows nothing. Paths are member names from the
// outermost inwards.
type Mask struct {
	// Clear and Pseudonymise are paths below input.token.claims.
	Clear, Pseudonymise [][]string
	// ClearRequest and PseudonymiseRequest are paths below input.request.
	ClearRequest, PseudonymiseRequest [][]string
	// Remove are JSON pointers below /input and /result to what is not written, whatever else clears it.
	Remove []string
	// Revision is the policy revision that made the mask.
	Revision string
	// Kept is what Config.NewKept made for the token, its verification and a mask with these contents; nil for a mask
	// that is not remembered.
	Kept any
}

// Observer is told how masking goes. It must not block.
type Observer interface {
	// Masked tells how long an evaluation took, and why it failed. A mask that was remembered is not told.
	Masked(took time.Duration, failure error)
}

// Config of a Masker.
type Config struct {
	// Revision gives the policy revision in force; required.
	Revision func() *policy.Revision
	// Timeout bounds one evaluation; default policy.DefaultTimeout. Past it masking fails.
	Timeout time.Duration
	// Concurrency is how many evaluations run at once; default runtime.GOMAXPROCS(0), for the reason that policy.Config
	// gives. More wait for their turn, as long as their context lasts.
	Concurrency int
	// Now is the clock by which Timeout is measured; default time.Now.
	Now func() time.Time
	// NewKept may be nil; see Mask.Kept.
	NewKept func() any
	// Observer may be nil.
	Observer Observer
}

// Masker makes masks. It is safe for concurrent use.
type Masker struct {
	c       Config
	turns   chan struct{}
	current atomic.Pointer[prepared]
}

// prepared are the documents of one revision.
type prepared struct {
	revision *policy.Revision

	once sync.Once
	docs documents
	err  error
}

type documents struct {
	mask *policy.Document
	log  *policy.Document // nil where no bundle has one
	// usual is what Entrypoint means where it says "usual"; or usualErr says why that cannot be meant.
	usual    Mask
	usualErr error
	// remembers tells that the masks follow from the facts alone.
	remembers bool
	// last is the last mask that was made: most are the same, and then share their contents.
	last atomic.Pointer[Mask]
}

// New makes a Masker.
func New(c Config) (*Masker, error) {
	if c.Revision == nil {
		return nil, errors.New("masking: Revision is required")
	}
	if c.Timeout < 0 || c.Concurrency < 0 {
		return nil, errors.New("masking: Timeout and Concurrency must be positive")
	}
	if c.Timeout == 0 {
		c.Timeout = policy.DefaultTimeout
	}
	if c.Concurrency == 0 {
		c.Concurrency = runtime.GOMAXPROCS(0)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Masker{c: c, turns: make(chan struct{}, c.Concurrency)}, nil
}

// Mask says what may be written about a decision. Its error means that nothing may be, and says why; it quotes the
// policy, never the facts. The mask is shared and must not be changed.
func (m *Masker) Mask(ctx context.Context, f *pdp.Facts, d *pdp.Decision) (Mask, error) {
	r := m.c.Revision()
	docs, err := m.documents(r)
	if err != nil {
		return Mask{Revision: r.ID()}, err
	}
	var scratch [256]byte
	var key []byte
	var memory *memory
	if docs.remembers && f.Verification.Verified() {
		memory = memoryOf(r, f)
		if key = docs.appendKey(scratch[:0], f); len(key) > longestKey {
			memory = nil
		}
	}
	if memory != nil {
		if known := memory.recall(key); known != nil {
			return *known, nil
		}
	}
	if err := policy.TakeTurn(ctx, m.turns); err != nil {
		return Mask{Revision: r.ID()}, fmt.Errorf("masking: %w", err)
	}
	defer func() { <-m.turns }()
	began := m.c.Now()
	mask, err := m.evaluate(ctx, docs, f, d)
	if m.c.Observer != nil {
		m.c.Observer.Masked(m.c.Now().Sub(began), err)
	}
	if err != nil {
		return Mask{Revision: r.ID()}, err
	}
	mask.Revision = r.ID()
	mask = docs.shared(mask)
	if memory != nil {
		if m.c.NewKept != nil {
			mask.Kept = memory.keptFor(&mask, m.c.NewKept)
		}
		memory.remember(key, &mask)
	}
	return mask, nil
}

// documents prepares those of a revision once; whoever asks meanwhile waits, some milliseconds.
func (m *Masker) documents(r *policy.Revision) (*documents, error) {
	p := m.current.Load()
	for p == nil || p.revision != r {
		fresh := &prepared{revision: r}
		if m.current.CompareAndSwap(p, fresh) {
			p = fresh
		} else {
			p = m.current.Load()
		}
	}
	p.once.Do(func() { p.err = p.docs.prepare(r) })
	return &p.docs, p.err
}

func (d *documents) prepare(r *policy.Revision) error {
	usual, err := r.Document(Usual, "")
	if err != nil {
		return err
	}
	d.usual, d.usualErr = usualMask(usual)
	if d.mask, err = r.Document(Entrypoint, ""); err != nil {
		return err
	}
	log, err := r.Document(LogMask, factsMember)
	if err != nil {
		return err
	}
	d.remembers = true
	if log.Exists() {
		d.log = log
		d.remembers = !slices.ContainsFunc(ofTheDecision, func(name string) bool { return log.Reads(name) })
	}
	return nil
}

func (d *documents) appendKey(key []byte, f *pdp.Facts) []byte {
	key = d.mask.AppendKey(key, f)
	if d.log != nil {
		key = d.log.AppendKey(key, f)
	}
	return key
}

// shared gives the last mask, if it is equal, or else this one.
func (d *documents) shared(mask Mask) Mask {
	if last := d.last.Load(); last != nil && last.equal(&mask) {
		return *last
	}
	d.last.Store(&mask)
	return mask
}

func (m *Mask) equal(other *Mask) bool {
	same := func(a, b [][]string) bool { return slices.EqualFunc(a, b, slices.Equal[[]string]) }
	return same(m.Clear, other.Clear) && same(m.Pseudonymise, other.Pseudonymise) && same(m.ClearRequest, other.ClearRequest) &&
		same(m.PseudonymiseRequest, other.PseudonymiseRequest) && slices.Equal(m.Remove, other.Remove) && m.Revision == other.Revision
}
