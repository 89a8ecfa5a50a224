package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/tlog"
)

// The names in a ledger's folder.
const (
	segmentsDir     = "segments"
	tilesDir        = "tile"
	inboxDir        = "inbox"
	tornDir         = "torn"
	lockName        = "lock"
	checkpointsName = "checkpoints"
	checkpointName  = "checkpoint"

	plainSuffix      = ".log"
	compressedSuffix = ".log.zst"
	sealSuffix       = ".seal"
	temporarySuffix  = ".tmp"
)

func segmentName(first int64, suffix string) string {
	return filepath.Join(segmentsDir, fmt.Sprintf("%020d%s", first, suffix))
}

// segmentFirst reads the index out of a segment's file name.
func segmentFirst(name, suffix string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, err == nil && first >= 0 && first < mostRecords
}

// mostRecords is more than any log has, and leaves room to count on.
const mostRecords = 1 << 62

// segmentPath is one segment as a listing of the folder shows it.
type segmentPath struct {
	first             int64
	plain, compressed bool // both for a moment, when compression has just ended
}

// listSegments lists the segments in dir by first index.
func listSegments(dir string) ([]segmentPath, error) {
	entries, err := os.ReadDir(filepath.Join(dir, segmentsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := map[int64]segmentPath{}
	for _, entry := range entries {
		if first, ok := segmentFirst(entry.Name(), plainSuffix); ok {
			s := found[first]
			s.first, s.plain = first, true
			found[first] = s
		} else if first, ok := segmentFirst(entry.Name(), compressedSuffix); ok {
			s := found[first]
			s.first, s.compressed = first, true
			found[first] = s
		}
	}
	segments := make([]segmentPath, 0, len(found))
	for _, s := range found {
		segments = append(segments, s)
	}
	slices.SortFunc(segments, func(a, b segmentPath) int { return int(min(max(a.first-b.first, -1), 1)) })
	return segments, nil
}

// openSegment opens a segment's records for reading, whichever form it has just now.
func openSegment(dir string, first int64) (io.ReadCloser, error) {
	f, err := OpenRegular(filepath.Join(dir, segmentName(first, plainSuffix)))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	return openCompressed(dir, first, 0)
}

// openCompressed opens a compressed segment at the beginning of a frame.
func openCompressed(dir string, first, packed int64) (io.ReadCloser, error) {
	f, err := OpenRegular(filepath.Join(dir, segmentName(first, compressedSuffix)))
	if err != nil {
		return nil, err
	}
	if _, err = f.Seek(packed, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return unpack(f)
}

// unpack reads what is compressed in f, and closes f with itself.
func unpack(f *os.File) (io.ReadCloser, error) {
	unpacked, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &unpackedFile{Decoder: unpacked, file: f}, nil
}

type unpackedFile struct {
	*zstd.Decoder
	file *os.File
}

func (u *unpackedFile) Close() error {
	u.Decoder.Close()
	return u.file.Close()
}

// seal is what is written beside a segment when the next one begins. It is derived from the records, and saves
// reading them: how many there are, when they are from, and the tree behind the last of them.
type seal struct {
	First     int64         `json:"first"`
	Count     int64         `json:"count"`
	Bytes     int64         `json:"bytes"`
	FirstTime time.Time     `json:"first_time,omitzero"`
	LastTime  time.Time     `json:"last_time,omitzero"`
	Root      tlog.Hash     `json:"root"`
	Edges     [][]tlog.Hash `json:"edges"`
	// Frames are those of the compressed form.
	Frames []frame `json:"frames,omitempty"`
}

func (s *seal) tree() tree { return tree{size: s.First + s.Count, edges: s.Edges} }

func (s *seal) segment() Segment {
	return Segment{First: s.First, Count: s.Count, FirstTime: s.FirstTime, LastTime: s.LastTime, Bytes: s.Bytes, Sealed: true}
}

// readSeal reads a segment's seal; one that contradicts itself is as good as none.
func readSeal(dir string, first int64) (*seal, error) {
	data, err := readRegular(filepath.Join(dir, segmentName(first, sealSuffix)), mostSeal)
	if err != nil {
		return nil, err
	}
	var s seal
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	t := s.tree()
	if s.First != first || s.Count <= 0 || !t.fits() || t.root() != s.Root {
		return nil, fmt.Errorf("%s contradicts itself", segmentName(first, sealSuffix))
	}
	return &s, nil
}

// times is the span of times of a segment's records.
type times struct{ first, last time.Time }

func (s *times) add(t time.Time) {
	if t.IsZero() {
		return
	}
	t = t.UTC()
	if s.first.IsZero() || t.Before(s.first) {
		s.first = t
	}
	if t.After(s.last) {
		s.last = t
	}
}

func (s *seal) encode() ([]byte, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// sealEndingAt finds the seal of the segment that ends where another begins.
func sealEndingAt(dir string, end int64) (*seal, error) {
	entries, err := os.ReadDir(filepath.Join(dir, segmentsDir))
	if err != nil {
		return nil, err
	}
	for _, entry := range slices.Backward(entries) {
		first, ok := segmentFirst(entry.Name(), sealSuffix)
		if !ok || first >= end {
			continue
		}
		s, err := readSeal(dir, first)
		if err != nil {
			return nil, err
		}
		if s.First+s.Count != end {
			return nil, fmt.Errorf("%s ends at record %d, not at %d", segmentName(first, sealSuffix), s.First+s.Count, end)
		}
		return s, nil
	}
	return nil, fmt.Errorf("no seal ends at record %d", end)
}

// treeBefore is the tree over all records before a segment's first, from the seal of the segment before it.
func treeBefore(dir string, first int64) (tree, error) {
	if first == 0 {
		return tree{}, nil
	}
	s, err := sealEndingAt(dir, first)
	if err != nil {
		return tree{}, err
	}
	return s.tree(), nil
}
