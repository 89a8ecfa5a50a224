package ledger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// path is the tile's place in C2SP tlog-tiles, which is that of x/mod's tlog without the height.
func (t tile) path() string {
	p := tlog.Tile{H: tileHeight, L: t.level, N: t.number, W: len(t.hashes)}.Path()
	return filepath.FromSlash(tilesDir + strings.TrimPrefix(p, "tile/8"))
}

func (t tile) data() []byte {
	data := make([]byte, 0, len(t.hashes)*tlog.HashSize)
	for _, h := range t.hashes {
		data = append(data, h[:]...)
	}
	return data
}

// writeFresh writes the full tiles that nobody wrote yet, and then those of an edge. Who comes second waits for the first,
// so that afterwards all tiles of the tree before are there. What could not be written is tried again.
func (l *Ledger) writeFresh(edge []tile) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.treeMu.Lock()
	fresh := l.fresh
	l.fresh = nil
	l.treeMu.Unlock()
	for i, t := range fresh {
		if err := l.writeTile(t); err != nil {
			l.treeMu.Lock()
			l.fresh = append(fresh[i:], l.fresh...)
			l.fresh = l.fresh[:min(len(l.fresh), maxFreshTiles)]
			l.treeMu.Unlock()
			return err
		}
	}
	for _, t := range edge {
		if err := l.writeTile(t); err != nil {
			return err
		}
	}
	return nil
}

// writeTile writes a tile, one of leaves without waiting for the disk: it is derived from records that are there.
// The records under a higher one may be deleted already. A full tile makes its partial ones superfluous.
func (l *Ledger) writeTile(t tile) error {
	path := l.path(t.path())
	if err := l.config.disk.put(path, t.data(), t.level > 0 && len(t.hashes) == tileWidth); err != nil {
		return err
	}
	if len(t.hashes) < tileWidth {
		return nil
	}
	if err := os.RemoveAll(path + ".p"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
