package index

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Somebody who may write the folder can put anything in an index's place. It costs a reader no more than to make the index again.
func TestAFileThatIsNoIndexIsNotRead(t *testing.T) {
	for name, put := range map[string]func(t *testing.T, path string){
		"a terabyte of nothing": func(t *testing.T, path string) {
			if err := os.WriteFile(path, magic[:], 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 1<<40); err != nil {
				t.Skip("this file system has no such files: ", err)
			}
		},
		"a folder": func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"a link to a file without end": func(t *testing.T, path string) {
			if _, err := os.Stat("/dev/zero"); err != nil {
				t.Skip("there is none: ", err)
			}
			if err := os.Symlink("/dev/zero", path); err != nil {
				t.Fatal(err)
			}
		},
		"a pipe": pipe,
	} {
		t.Run(name, func(t *testing.T) {
			l := newFakeLog(t, 30, 10)
			x, err := Open(l, Folder(l.dir))
			if err != nil {
				t.Fatal(err)
			}
			if err := x.Build(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			path := x.path(10)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Clean(path))
			rows := 0
			for _, err := range x.Rows(t.Context(), Query{}) {
				if err != nil {
					t.Fatal(err)
				}
				rows++
			}
			if rows != 30 {
				t.Errorf("%d rows, want 30", rows)
			}
		})
	}
}

// A text full of escapes is stepped over once, not once for each of them.
func TestScannerIsLinear(t *testing.T) {
	const escapes = 2 << 20 // squared, it is a matter of many minutes
	record := `{"path":"x","input":{"request":{"context":{"a":"` + strings.Repeat(`\n`, escapes) + `\"\\"},"audience":"orders"}},"custom":{"assay":{"kind":"k"}}}`
	var f fields
	if !f.scanned([]byte(record)) || !bytes.Equal(f.audience, []byte("orders")) || string(f.kind) != "k" {
		t.Errorf("kind %q, audience %q", f.kind, f.audience)
	}
}
