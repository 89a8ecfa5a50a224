package ledger

import (
	"errors"
	"os"
	"syscall"
)

// datasync makes a file's content and length durable; times of access and change may lag behind.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
