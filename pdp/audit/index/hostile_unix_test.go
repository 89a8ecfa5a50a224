//go:build unix

package index

import (
	"syscall"
	"testing"
)

// pipe makes a file whose opening waits for a writer.
func pipe(t *testing.T, path string) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip("there are no pipes here: ", err)
	}
}
