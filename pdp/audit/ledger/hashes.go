package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// maxKeptTiles bounds what a Hashes remembers, 8 KiB each.
const maxKeptTiles = 256

// Hashes gives the tree's stored hashes (tlog.StoredHashIndex) from the tiles, and where those are missing from
// the records. They are as trustworthy as the folder: a proof made of them is to be checked against a checkpoint.
// ErrTrimmed: a hash inside a part that retention deleted, which no proof between checkpoints or of a
// remaining record needs.
func (r *Reader) Hashes(ctx context.Context) tlog.HashReader {
	return &hashes{ctx: ctx, r: r, kept: map[tile0]tile{}}
}

// HashesOfRecords is Hashes without looking at the tiles, for when those were found to be wrong.
func (r *Reader) HashesOfRecords(ctx context.Context) tlog.HashReader {
	return &hashes{ctx: ctx, r: r, kept: map[tile0]tile{}, noTiles: true}
}

type tile0 struct {
	level  int
	number int64
}

type hashes struct {
	ctx     context.Context // of the one proof that it is made for
	r       *Reader
	noTiles bool

	mu   sync.Mutex
	kept map[tile0]tile
}

// ReadHashes implements tlog.HashReader.
func (h *hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		// The hash is over 2^up neighbouring hashes of a tile.
		up := level % tileHeight
		first := n << up
		start := int(first % tileWidth)
		end := start + 1<<up
		t, err := h.tile(level/tileHeight, first/tileWidth, end)
		if err != nil {
			return nil, fmt.Errorf("audit log: hash %d of level %d: %w", n, level, err)
		}
		out[i] = perfectRoot(t.hashes[start:end])
	}
	return out, nil
}

// tile gives at least width hashes of a tile.
func (h *hashes) tile(level int, number int64, width int) (tile, error) {
	key := tile0{level, number}
	if t, ok := h.kept[key]; ok && len(t.hashes) >= width {
		return t, nil
	}
	t := tile{level: level, number: number}
	if !h.noTiles {
		var err error
		if t.hashes, err = h.r.readTile(t); err != nil {
			return tile{}, err
		}
	}
	if len(t.hashes) < width {
		if err := h.complete(&t, width); err != nil {
			return tile{}, err
		}
	}
	if len(h.kept) >= maxKeptTiles {
		clear(h.kept)
	}
	h.kept[key] = t
	return t, nil
}

// readTile reads the hashes of a tile from its file, the full one or the widest partial one; none where there is none of
// a tile's length.
func (r *Reader) readTile(t tile) ([]tlog.Hash, error) {
	full := filepath.Join(r.dir, tile{level: t.level, number: t.number, hashes: make([]tlog.Hash, tileWidth)}.path())
	widest, err := readRegular(full, mostTile)
	switch {
	case err == nil && len(widest) == mostTile:
		return tileHashes(widest), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	var names []string
	partial, err := os.ReadDir(full + ".p")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range partial {
		if w, err := strconv.Atoi(entry.Name()); err == nil && w > 0 && w < tileWidth {
			names = append(names, filepath.Join(full+".p", entry.Name()))
		}
	}
	if len(widest)%tlog.HashSize != 0 {
		widest = nil
	}
	for _, name := range names {
		data, err := readRegular(name, mostTile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if len(data)%tlog.HashSize == 0 && len(data) > len(widest) {
			widest = data
		}
	}
	return tileHashes(widest), nil
}

func tileHashes(data []byte) []tlog.Hash {
	hashes := make([]tlog.Hash, len(data)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], data[i*tlog.HashSize:])
	}
	return hashes
}

// complete adds to a tile from the records, or from the tiles below it.
func (h *hashes) complete(t *tile, width int) error {
	from := t.number*tileWidth + int64(len(t.hashes))
	to := t.number*tileWidth + int64(width)
	if t.level > 0 {
		for ; from < to; from++ {
			below, err := h.tile(t.level-1, from, tileWidth)
			if err != nil {
				return err
			}
			t.hashes = append(t.hashes, perfectRoot(below.hashes))
		}
		return nil
	}
	for record, err := range h.r.Records(h.ctx, from, to) {
		if err != nil {
			return err
		}
		if record.Index != from {
			return ErrTrimmed
		}
		t.hashes = append(t.hashes, record.Hash)
		from++
	}
	if from < to {
		return fmt.Errorf("the log ends before record %d", to-1)
	}
	return nil
}
