//go:build !unix

package ledger

import "os"

// openNoWait opens a file that is a regular one when it is looked at.
func openNoWait(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, strange(info)
	}
	return os.Open(path)
}
