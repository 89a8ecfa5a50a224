package secevent

import (
	"crypto/sha256"
	"sync"
	"time"
)

// seen remembers which SETs were carried out, as hashes, each until its window is over.
type seen struct {
	most int

	mu    sync.Mutex
	state map[[sha256.Size]byte]bool // mu; true: carried out, false: being carried out
	queue []dated                    // mu; those carried out, in the order in which they are forgotten
}

type dated struct {
	name  [sha256.Size]byte
	until time.Time
}

func newSeen(most int) *seen {
	return &seen{most: most, state: make(map[[sha256.Size]byte]bool)}
}

func hash(issuer, id string) [sha256.Size]byte {
	return sha256.Sum256([]byte(issuer + "\x00" + id))
}

// reserve tells whether the SET is new, and keeps others from carrying it out meanwhile.
func (s *seen) reserve(issuer, id string, now time.Time) (fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := 0
	for over < len(s.queue) && !s.queue[over].until.After(now) {
		delete(s.state, s.queue[over].name)
		over++
	}
	s.queue = s.queue[over:]
	name := hash(issuer, id)
	done, known := s.state[name]
	switch {
	case done:
		return false, nil
	case known, len(s.state) >= s.most:
		return false, ErrBusy
	}
	s.state[name] = false
	return true, nil
}

// settle ends a reservation.
func (s *seen) settle(issuer, id string, until time.Time, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := hash(issuer, id)
	if !done {
		delete(s.state, name)
		return
	}
	s.state[name] = true
	s.queue = append(s.queue, dated{name, until})
}
