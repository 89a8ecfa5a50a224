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

// takeFresh gives the full tiles that nobody wrote yet.
func (l *Ledger) takeFresh() []tile {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	tiles := l.fresh
	l.fresh = nil
	return tiles
}

// writeTiles writes tiles, those of leaves without waiting for the disk: they are derived from records that are there.
// The records under a higher one may be deleted already. A full tile makes its partial ones superfluous.
func (l *Ledger) writeTiles(tiles []tile) error {
	for _, t := range tiles {
		path := l.path(t.path())
		if err := l.config.disk.put(path, t.data(), t.level > 0 && len(t.hashes) == tileWidth); err != nil {
			return err
		}
		if len(t.hashes) == tileWidth {
			if err := os.RemoveAll(path + ".p"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
