package ledger

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"
)

// lookahead is how many leaves are searched for a record that is not in its place; more in a row, removed or
// inserted, are not told from altered ones. A leaf takes about 100 bytes while something is searched.
const lookahead = 1 << 17

// keptLeaves are the leaf hashes that the tiles of level 0 have: what the tree had when it was written. They prove
// nothing by themselves; the next checkpoint does.
type keptLeaves struct {
	reader *Reader
	number int64 // of the tile that is held; -1: none
	hashes []tlog.Hash

	ahead      map[tlog.Hash]int64 // where leaves from searched on stand
	from, till int64
}

func newKeptLeaves(dir string) *keptLeaves { return &keptLeaves{reader: &Reader{dir: dir}, number: -1} }

// leaf answers the leaf hash of a record where a tile has it.
func (k *keptLeaves) leaf(index int64) (tlog.Hash, bool) {
	if index < 0 { // as a receipt may say that somebody made up
		return tlog.Hash{}, false
	}
	if number := index / tileWidth; number != k.number {
		k.number, k.hashes = number, k.tile(0, number)
	}
	if at := index % tileWidth; at < int64(len(k.hashes)) {
		return k.hashes[at], true
	}
	return tlog.Hash{}, false
}

// tile answers what there is of a tile: what cannot be read is not there, and the records are compared with the
// checkpoints without it.
func (k *keptLeaves) tile(level int, number int64) []tlog.Hash {
	hashes, err := k.reader.readTile(tile{level: level, number: number})
	if err != nil {
		return nil
	}
	return hashes
}

// search answers where in the next leaves behind index one stands.
func (k *keptLeaves) search(leaf tlog.Hash, index int64) (int64, bool) {
	if k.ahead == nil || index < k.from || index+lookahead/2 > k.till {
		held, hashes := k.number, k.hashes
		k.ahead, k.from, k.till = make(map[tlog.Hash]int64, tileWidth), index, index
		for ; k.till < index+lookahead; k.till++ {
			h, ok := k.leaf(k.till)
			if !ok {
				k.till = index + lookahead // there are no more
				break
			}
			if _, there := k.ahead[h]; !there {
				k.ahead[h] = k.till
			}
		}
		k.number, k.hashes = held, hashes
	}
	at, ok := k.ahead[leaf]
	return at, ok && at > index
}

// checkTile compares a full tile of the spine with its file, which need not be there. A tile of level 0 is what the
// spine is made of; it differs only where its file cannot be read or has another length.
func (v *verifier) checkTile(t tile) {
	data, err := readRegular(filepath.Join(v.c.Dir, t.path()), mostTile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && bytes.Equal(data, t.data()) || v.lost {
		return
	}
	span := int64(1) << (tileHeight * (t.level + 1)) // records under it
	what := "the tile is not what the records make it: it was altered"
	if err != nil {
		what = "the tile cannot be read: " + err.Error()
	}
	v.find(Finding{Kind: BadTile, Index: t.number * span, Through: (t.number+1)*span - 1, File: t.path(), What: what})
}

// checkEdge compares the partial tiles at the right edge, of which only the widest of a place is looked at.
func (v *verifier) checkEdge() {
	if v.lost {
		return
	}
	for _, t := range v.spine.partial() {
		kept, err := v.kept.reader.readTile(t)
		if err != nil {
			v.find(Finding{Kind: BadTile, Index: (t.number * tileWidth) << (tileHeight * t.level), File: t.path(), What: "the tile cannot be read: " + err.Error()})
		}
		for i := range min(len(kept), len(t.hashes)) {
			if kept[i] == t.hashes[i] {
				continue
			}
			t.hashes = t.hashes[:len(kept)]
			v.find(Finding{Kind: BadTile, Index: (t.number*tileWidth + int64(i)) << (tileHeight * t.level), File: t.path(),
				What: "the tile is not what the records make it: it was altered"})
			break
		}
	}
}
