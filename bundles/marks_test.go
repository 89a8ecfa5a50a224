package bundles

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func openMarks(t *testing.T, dir string) *Marks {
	t.Helper()
	m, err := OpenMarks(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMarkRefusesWhatIsOlder(t *testing.T) {
	signer := newSigner(t, "EdDSA")
	make := func(sequence int64, revision string) []byte {
		return signed(t, build(t, BuildConfig{Sequence: sequence, Revision: revision}).Archive, signer)
	}
	dir := t.TempDir()
	marks := openMarks(t, dir)
	config := ReadConfig{Name: "org", Verify: trust(signer), Marks: marks}
	seven := make(7, "r")
	b, err := read(seven, config)
	if err != nil {
		t.Fatal(err)
	}
	if mark, err := marks.Get("org"); err != nil || mark != (Mark{}) {
		t.Errorf("reading alone left the mark %+v, %v", mark, err)
	}
	if err := marks.Raise(b); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		archive []byte
		bundle  string
		refused bool
	}{
		{"the one in force", seven, "org", false},
		{"the same content signed again", signed(t, seven, signer), "org", false},
		{"the next", make(8, "r"), "org", false},
		{"the one before", make(6, "r"), "org", true},
		{"another with the same sequence", make(7, "other"), "org", true},
		{"one without a sequence", make(0, "r"), "org", true},
		{"the one before under another name", make(6, "r"), "second", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := config
			config.Name, config.Marks = c.bundle, openMarks(t, dir) // as after a restart
			b, err := read(c.archive, config)
			if c.refused {
				wantRefused(t, err, ReasonOlder)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b.Sequence < 7 && c.bundle == "org" {
				t.Errorf("sequence %d was taken", b.Sequence)
			}
		})
	}
	config.Marks = nil
	six, err := read(make(6, "r"), config)
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, marks.Raise(six), ReasonOlder)
	if mark, err := marks.Get("org"); err != nil || mark.Sequence != 7 {
		t.Errorf("the mark is %+v, %v; want 7", mark, err)
	}
}

func TestBundleWithoutProtectionLeavesNoMark(t *testing.T) {
	marks := openMarks(t, t.TempDir())
	for _, b := range []*Bundle{{Name: "org", Signed: true}, {Name: "org", Sequence: 9, Digest: "x"}} {
		if err := marks.Raise(b); err != nil {
			t.Error(err)
		}
	}
	if mark, err := marks.Get("org"); err != nil || mark != (Mark{}) {
		t.Errorf("mark %+v, %v", mark, err)
	}
}

func TestMarkThatCannotBeReadIsAnErrorNotZero(t *testing.T) {
	dir := t.TempDir()
	marks := openMarks(t, dir)
	for _, text := range []string{"", "{}", "x", `{"sequence":-1,"digest":"x"}`} {
		if err := os.WriteFile(filepath.Join(dir, "org.mark.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := read(build(t, BuildConfig{Sequence: 1}).Archive, ReadConfig{Name: "org", Marks: marks})
		var refused *RefusedError
		if err == nil || errors.As(err, &refused) {
			t.Errorf("with %q: %v; want an error about the mark", text, err)
		}
	}
}

func TestNamesThatWouldLeaveTheDirectory(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "a/b", ".hidden", "a b", strings.Repeat("a", 129)} {
		if err := CheckName(name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	for _, name := range []string{"a", "org", "a.b-c_d", strings.Repeat("a", 128)} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

// A process that raises its mark without end is killed, again and again: after each time, the mark is readable and not
// below the last one that Raise returned for.
func TestMarkSurvivesKill(t *testing.T) {
	if os.Getenv("ASSAY_TEST_MARKS") != "" {
		raiseForever(".")
		return
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		cmd := exec.Command(self, "-test.run=^TestMarkSurvivesKill$")
		cmd.Env, cmd.Dir = append(os.Environ(), "ASSAY_TEST_MARKS=1"), dir
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last, lines := int64(0), bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if last, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
				t.Fatalf("the other process says %q", lines.Text())
			}
			if n == 20 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the other process ended by itself")
		}
		mark, err := openMarks(t, dir).Get("org")
		if err != nil || mark.Sequence < last || last == 0 {
			t.Fatalf("after the kill the mark is %+v, %v; %d was acknowledged", mark, err, last)
		}
	}
}

func raiseForever(dir string) {
	marks, err := OpenMarks(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	mark, err := marks.Get("org")
	for sequence := mark.Sequence + 1; err == nil; sequence++ {
		err = marks.Raise(&Bundle{Name: "org", Signed: true, Sequence: sequence, Digest: "sha256:x"})
		fmt.Println(sequence)
	}
	fmt.Println(err)
}
