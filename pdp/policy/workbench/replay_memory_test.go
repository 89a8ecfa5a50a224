package workbench

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func keyOf(n int) (key digest) {
	binary.BigEndian.PutUint64(key[:], uint64(n))
	return key
}

func TestVerdictsHoldForTheirSeconds(t *testing.T) {
	v := newVerdicts()
	v.remember(keyOf(1), judged{allow: true}, 100, 110)
	v.remember(keyOf(2), judged{allow: true}, 100, 0) // nothing is said of later
	for _, c := range []struct {
		key    int
		second int64
		known  bool
	}{{1, 99, false}, {1, 100, true}, {1, 110, true}, {1, 111, false}, {2, 99, false}, {2, 100, true}, {2, 101, false}, {3, 100, false}} {
		if j, known := v.recall(keyOf(c.key), c.second); known != c.known || known && !j.allow {
			t.Errorf("key %d at %d: %v, known %t", c.key, c.second, j, known)
		}
	}
}

// Memory is bounded; what is asked for again and again stays in it.
func TestVerdictsForgetWhatIsNotAskedFor(t *testing.T) {
	v := newVerdicts()
	for n := range 4 * mostYoung {
		v.remember(keyOf(n), judged{}, 0, 0)
		if _, known := v.recall(keyOf(0), 0); !known {
			t.Fatalf("after %d it forgot what was asked for just before", n)
		}
		if len(v.young) > mostYoung || len(v.old) > mostYoung {
			t.Fatalf("after %d it keeps %d and %d", n, len(v.young), len(v.old))
		}
	}
	if _, known := v.recall(keyOf(1), 0); known {
		t.Error("it forgets nothing")
	}
}

// However many want to know, one looks; what could not be found out is looked for again.
func TestAKindIsLookedIntoOnce(t *testing.T) {
	i := insights{known: make(map[digest]*lookedInto)}
	failure := errors.New("the context ended")
	if _, err := i.of(keyOf(1), func() (*insight, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	var looked atomic.Int64
	is := &insight{}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			got, err := i.of(keyOf(1), func() (*insight, error) { looked.Add(1); return is, nil })
			if got != is || err != nil {
				t.Error(got, err)
			}
		})
	}
	all.Wait()
	if n := looked.Load(); n != 1 {
		t.Errorf("%d looked", n)
	}
}
