//go:build unix

package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whatever lies in the inbox, the other work goes on, Run ends, and health stays short.
func TestWhatIsNoFileInTheInboxHoldsNothingUp(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir})
	inbox := filepath.Join(dir, inboxDir)
	if err := os.MkdirAll(filepath.Join(inbox, "0.left"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(inbox, "1.left"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(inbox, "2.left")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, filepath.Join(inboxDir, "3.left"), make([]byte, maxLineSize+1))
	for n := range 1000 {
		put(t, dir, filepath.Join(inboxDir, fmt.Sprintf("4-%d.left", n)), []byte("not a record\n"))
	}
	if err := Leave(dir, newClock().now, []byte(`{"change":1}`)); err != nil {
		t.Fatal(err)
	}
	stop := running(t, l)
	waitFor(t, "health names it", func() bool { return problemCodes(l) == codeInbox })
	stop()
	if h := l.Health(); h.Size != 1 || !strings.Contains(h.Problems[0].Err, "1.left") || !strings.Contains(h.Problems[0].Err, "more files") || len(h.Problems[0].Err) > 2000 {
		t.Errorf("health %+v", h)
	}
}
