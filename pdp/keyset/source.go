package keyset

import (
	"context"
	"errors"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// Loaded is what a Source gives.
type Loaded struct {
	Keys []pdp.Key
	// Ends says of keys, by thumbprint, from when on they verify nothing. That holds to the clock's tick, whether
	// or not the source is asked again by then. A key without an entry is one until the source no longer has it.
	Ends map[string]time.Time
	// Skipped says of each key that was left out which it is and why, for people. No key material.
	Skipped []string
	// AsOf is when the keys were known to be right; zero means now. A source that hands on what it keeps
	// itself sets it, so that age is counted once and from the right moment.
	AsOf time.Time
	// Next is how long these keys may be used before the source wants to be asked again; zero means
	// DefaultRefresh.
	Next time.Duration
}

// DefaultRefresh is how often a source is asked that does not say when.
const DefaultRefresh = 10 * time.Minute

// Source is where one issuer's keys come from. A Set calls Load from one goroutine at a time; an error
// means that nothing is known anew. Its text reaches operators: it must hold no secret.
type Source interface {
	Load(ctx context.Context) (Loaded, error)
	// Watch calls changed, which never blocks, whenever Load might give something new, until ctx ends. One that
	// cannot tell waits for ctx. An error means that changes are not seen until Watch is called again.
	Watch(ctx context.Context, changed func()) error
	// Local tells that the source is under this machine's own control: when it cannot be read at the start,
	// that is a mistake to correct and not an outage to outlast.
	Local() bool
	// String names the source for people.
	String() string
}

// Func makes a Source of a function, for keys that this process holds itself (the Vault keyring). It is
// called every `every` (default 5 s), since states of keys change by time alone, and whenever changed
// receives; changed may be nil.
func Func(name string, load func(ctx context.Context) (Loaded, error), every time.Duration, changed <-chan struct{}) (Source, error) {
	if load == nil || every < 0 {
		return nil, errors.New("keyset: a function source needs a function and a period that is not negative")
	}
	if every == 0 {
		every = 5 * time.Second
	}
	return &funcSource{name, load, every, changed}, nil
}

type funcSource struct {
	name    string
	load    func(context.Context) (Loaded, error)
	every   time.Duration
	changed <-chan struct{}
}

func (f *funcSource) String() string { return f.name }
func (f *funcSource) Local() bool    { return false }

func (f *funcSource) Load(ctx context.Context) (Loaded, error) {
	loaded, err := f.load(ctx)
	loaded.Next = f.every
	return loaded, err
}

func (f *funcSource) Watch(ctx context.Context, changed func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-f.changed:
			if !open {
				<-ctx.Done()
				return nil
			}
			changed()
		}
	}
}
