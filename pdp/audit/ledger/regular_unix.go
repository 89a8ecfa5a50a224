//go:build unix

package ledger

import (
	"os"
	"syscall"
)

// openNoWait opens a file without waiting for the other end of a pipe and without following a link at the end of path.
func openNoWait(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
}
