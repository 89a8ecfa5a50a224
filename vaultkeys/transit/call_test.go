package transit

import (
	"testing"
	"time"
)

// Vault looks for large primes as long as it takes; nothing else may take so long.
func TestOnlyTheMakingOfKeysMayTakeLong(t *testing.T) {
	for _, c := range []struct {
		operation      string
		timeout, limit time.Duration
	}{
		{"provision", 5 * time.Second, keyTimeout},
		{"rotate", 5 * time.Second, keyTimeout},
		{"rotate", 2 * keyTimeout, 2 * keyTimeout},
		{"sign", 5 * time.Second, 5 * time.Second},
		{"read_key", 5 * time.Second, 5 * time.Second},
		{"login", time.Second, time.Second},
	} {
		client := &Client{c: Config{Timeout: c.timeout}}
		if limit := client.limit(c.operation); limit != c.limit {
			t.Errorf("%s where requests may take %s: %s, want %s", c.operation, c.timeout, limit, c.limit)
		}
	}
}
