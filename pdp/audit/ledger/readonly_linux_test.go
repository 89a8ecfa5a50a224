package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// asNobody runs f without root's power over files, on this thread only.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if err := syscall.Setfsuid(65534); err != nil {
		t.Skipf("root cannot be left: %v", err)
	}
	f()
	if err := syscall.Setfsuid(0); err != nil {
		t.Fatal(err)
	}
}

func TestFolderThatCannotBeWrittenIsRefusedAtOpen(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "audit")
	l := mustOpen(t, Config{Dir: dir})
	fill(t, l, 3)
	mustClose(t, l)
	for p := dir; len(p) >= len(filepath.Dir(parent)); p = filepath.Dir(p) { // the test's own folders are root's alone
		if err := os.Chmod(p, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = os.Chmod(dir, 0o700)
		_ = os.Chmod(parent, 0o700)
		_ = os.Chmod(filepath.Dir(parent), 0o700)
	})
	asNobody(t, func() {
		if l, err := Open(t.Context(), Config{Dir: dir, Origin: testOrigin}); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), dir) {
			t.Errorf("it opens %v, %v", l, err)
		}
		if err := Leave(dir, newClock().now, []byte(`{}`)); !errors.Is(err, os.ErrPermission) {
			t.Errorf("leaving a record: %v", err)
		}
	})
}
