//go:build !unix

package revocation

import "os"

// lockFile only opens the file: elsewhere the operator sees to it that one process uses the folder.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
