//go:build unix

package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A folder that somebody filled to hold up, lead astray or exhaust who verifies it: each file is named that is not what
// such a file can be, and all the rest is verified.
func TestWhatIsNoFileOfALogIsRefusedByName(t *testing.T) {
	keys := newSigning(t)
	original := newSealedLog(t, keys)
	pipe := func(path string) error { return syscall.Mkfifo(path, 0o600) }
	link := func(path string) error { return os.Symlink("/dev/zero", path) }
	folder := func(path string) error { return os.Mkdir(path, 0o700) }
	endless := func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) }
	edge := filepath.Join(tilesDir, "0", "003.p", "227")
	for _, test := range []struct {
		name string
		file string
		put  func(path string) error
		kind FindingKind
		says string
	}{
		{"checkpoint is a pipe", checkpointName, pipe, BadCheckpoint, "a named pipe"},
		{"checkpoint is a link", checkpointName, link, BadCheckpoint, "a symbolic link"},
		{"checkpoint is a folder", checkpointName, folder, BadCheckpoint, "a folder"},
		{"checkpoint is endless", checkpointName, endless, BadCheckpoint, "longer than the 65536 bytes"},
		{"the history is a pipe", checkpointsName, pipe, BadCheckpoint, "a named pipe"},
		{"the history is a link", checkpointsName, link, BadCheckpoint, "a symbolic link"},
		{"the history is endless", checkpointsName, endless, BadCheckpoint, "longer than a checkpoint"},
		{"a tile is a pipe", filepath.Join(tilesDir, "0", "001"), pipe, BadTile, "a named pipe"},
		{"a tile is a link", filepath.Join(tilesDir, "0", "001"), link, BadTile, "a symbolic link"},
		{"a tile is endless", filepath.Join(tilesDir, "0", "001"), endless, BadTile, "longer than the 8192 bytes"},
		{"a tile at the edge is a pipe", edge, pipe, BadTile, "a named pipe"},
		{"a tile at the edge is endless", edge, endless, BadTile, "longer than the 8192 bytes"},
		{"the folder of a tile at the edge is a pipe", filepath.Dir(edge), pipe, BadTile, "003.p"},
		{"a seal is a pipe", segmentName(300, sealSuffix), pipe, BadSegment, "a named pipe"},
		{"a seal is a link", segmentName(300, sealSuffix), link, BadSegment, "a symbolic link"},
		{"a seal is endless", segmentName(300, sealSuffix), endless, BadSegment, "longer than the"},
		{"a segment is a pipe", segmentLog(300), pipe, Unreadable, "a named pipe"},
		{"a segment is a link", segmentLog(300), link, Unreadable, "a symbolic link"},
		{"a segment is endless", segmentLog(300), endless, Unreadable, "so long that"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &sealedLog{TB: t, dir: t.TempDir(), keys: keys}
			if err := os.CopyFS(s.dir, os.DirFS(original.dir)); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
			if _, err := os.Stat(s.path(test.file)); err != nil {
				t.Fatal(err)
			}
			s.removeAll(test.file)
			if err := test.put(s.path(test.file)); err != nil {
				t.Fatal(err)
			}
			report := s.verify(nil)
			named := func(f Finding) bool {
				return f.Kind == test.kind && strings.Contains(f.What, test.says) && strings.HasPrefix(filepath.FromSlash(f.File), strings.TrimSuffix(test.file, ".p"))
			}
			if !slices.ContainsFunc(report.Findings, named) || report.Size != testRecords {
				t.Errorf("%d records, found %+v", report.Size, report.Findings)
			}
		})
	}
}
