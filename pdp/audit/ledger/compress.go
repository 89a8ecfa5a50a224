package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"
)

// frameBytes is how much of a segment one zstd frame holds. Frames can be unpacked each for itself, so one record is
// read without what stands before it; together they are a file that `zstd -d` reads.
const frameBytes = 1 << 20

// castagnoli is the CRC that processors compute.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is where a zstd frame begins: at which record, and where in the compressed file.
type frame struct {
	Index  int64 `json:"index"`
	Packed int64 `json:"packed"`
	Offset int64 `json:"offset"`
}

// compressSealed compresses the segments that are sealed. The compressed form gets its name when it is on disk and was
// read back; only then the plain one goes, so at every moment one of them is whole.
func (l *Ledger) compressSealed(ctx context.Context) error {
	segments, err := listSegments(l.config.Dir)
	if err != nil {
		return err
	}
	for i, s := range segments {
		if i == len(segments)-1 || !s.plain {
			continue
		}
		if !s.compressed {
			if err := l.compress(ctx, s.first); err != nil {
				return fmt.Errorf("compressing %s: %w", segmentName(s.first, plainSuffix), err)
			}
		}
		l.forgetSum(s.first)
		if err := l.config.disk.remove(l.path(segmentName(s.first, plainSuffix))); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) compress(ctx context.Context, first int64) error {
	s, err := readSeal(l.config.Dir, first)
	if err != nil {
		return err
	}
	target := l.path(segmentName(first, compressedSuffix))
	temporary := target + temporarySuffix
	err = l.pack(ctx, s, temporary)
	if err == nil {
		err = unpacksTo(temporary, s.Bytes)
	}
	if err == nil {
		var data []byte
		if data, err = s.encode(); err == nil {
			err = l.config.disk.put(l.path(segmentName(first, sealSuffix)), data, true)
		}
	}
	if err == nil {
		err = l.config.disk.rename(temporary, target)
	}
	if err != nil {
		if removed := l.config.disk.remove(temporary); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			return errors.Join(err, removed)
		}
		return err
	}
	return l.config.disk.syncDir(l.path(segmentsDir))
}

// pack writes a segment's compressed form, durable under its temporary name, and notes the frames in its seal. A segment
// that was damaged since it was sealed stays as it is. It is no guard against somebody who forges a CRC: what he altered
// is compressed, and found by verifying the log as it was before.
//
// It runs beside requests, on the same cores. So it takes the fastest level, leaves it to zstd's checksum to compare
// what is read back, and to a CRC to tell that the file still holds what this process wrote: with the default level and
// digests of its own it took 10 µs of each record.
func (l *Ledger) pack(ctx context.Context, s *seal, temporary string) error {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	in, err := os.Open(l.path(segmentName(s.First, plainSuffix)))
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	out, err := l.config.disk.open(temporary, true)
	if err != nil {
		return err
	}
	p := packer{out: out, encoder: encoder, index: s.First}
	good := false
	if sum, known := l.sealedSum(s.First); known {
		good, err = p.copy(ctx, in, s, sum)
	}
	if err == nil && !good {
		if _, err = in.Seek(0, io.SeekStart); err == nil {
			p = packer{out: out, encoder: encoder, index: s.First}
			err = l.packLines(ctx, s, in, &p)
		}
	}
	if err == nil {
		err = out.Truncate(p.packed) // a longer one may have been left by a crash
	}
	if err == nil {
		err = out.datasync()
	}
	s.Frames = p.frames
	return errors.Join(err, out.Close())
}

// packLines packs record by record, so that what is wrong is named.
func (l *Ledger) packLines(ctx context.Context, s *seal, in io.Reader, p *packer) error {
	full := func(tile) error { return nil }
	if _, err := walkSealed(ctx, l.config.Dir, s, in, p.add, full, "it is left as it is"); err != nil {
		return err
	}
	return p.flush()
}

// keepSum keeps the CRC of the segment that is sealed. Only the committing goroutine calls it.
func (l *Ledger) keepSum() {
	if !l.summed {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sums[l.first] = l.sum
}

// sealedSum is the CRC of a segment that this process wrote from its beginning to its end.
func (l *Ledger) sealedSum(first int64) (sum uint32, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum, known = l.sums[first]
	return sum, known
}

func (l *Ledger) forgetSum(first int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sums, first)
}

type packer struct {
	out     segmentFile
	encoder *zstd.Encoder
	frames  []frame
	chunk   []byte
	space   []byte
	index   int64 // of the next record
	began   int64 // of the chunk's first record
	packed  int64
	offset  int64 // of the chunk
}

func (p *packer) add(line []byte) error {
	if len(p.chunk) == 0 {
		p.began = p.index
	}
	p.chunk = append(append(p.chunk, line...), '\n')
	p.index++
	if len(p.chunk) >= frameBytes {
		return p.flush()
	}
	return nil
}

// copy packs the file as it is, in frames that end where add would end them, and tells whether it is the sealed one.
func (p *packer) copy(ctx context.Context, in io.Reader, s *seal, want uint32) (good bool, err error) {
	var sum uint32
	space := make([]byte, 0, frameBytes+maxLineSize) // a frame that lacks a byte, and the longest line
	for {
		n, err := io.ReadFull(in, space[len(space):cap(space)])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return false, err
		}
		space = space[:len(space)+n]
		sum = crc32.Update(sum, castagnoli, space[len(space)-n:])
		for end := frameEnd(space, last); end > 0; end = frameEnd(space, last) {
			p.began, p.chunk = p.index, space[:end]
			p.index += int64(bytes.Count(p.chunk, []byte{'\n'}))
			if err := errors.Join(p.flush(), ctx.Err()); err != nil {
				return false, err
			}
			space = space[:copy(space, space[end:])]
		}
		if last {
			return sum == want && p.index == s.First+s.Count && p.offset == s.Bytes, nil
		}
		if len(space) == cap(space) {
			return false, nil // no line is as long
		}
	}
}

// frameEnd is where the frame ends that begins with text: behind the line that fills it, or with the last of a file; 0 where
// more of it is to come.
func frameEnd(text []byte, last bool) int {
	if len(text) >= frameBytes {
		if line := bytes.IndexByte(text[frameBytes-1:], '\n'); line >= 0 {
			return frameBytes + line
		}
	}
	if last {
		return len(text)
	}
	return 0
}

func (p *packer) flush() error {
	if len(p.chunk) == 0 {
		return nil
	}
	p.space = p.encoder.EncodeAll(p.chunk, p.space[:0])
	if _, err := p.out.WriteAt(p.space, p.packed); err != nil {
		return err
	}
	p.frames = append(p.frames, frame{Index: p.began, Packed: p.packed, Offset: p.offset})
	p.packed += int64(len(p.space))
	p.offset += int64(len(p.chunk))
	p.chunk = p.chunk[:0]
	return nil
}

// unpacksTo reads a compressed file back: every frame holds a checksum (xxHash, RFC 8878 section 3.1.1) of what went in,
// which the decoder compares.
func unpacksTo(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	unpacked, err := unpack(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	n, err := io.Copy(io.Discard, unpacked)
	if err = errors.Join(err, unpacked.Close()); err != nil {
		return err
	}
	if n != size {
		return errors.New("what was read back is not what was written")
	}
	return nil
}
