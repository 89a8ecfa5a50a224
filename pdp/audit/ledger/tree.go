package ledger

import (
	"golang.org/x/mod/sumdb/tlog"
)

// The tiles of C2SP tlog-tiles are eight levels high: 256 hashes wide.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// tree is what has to be known of a Merkle tree to let it grow: for each level of tiles the hashes of the one tile that
// is not full. edges[0] holds leaf hashes, edges[1] the roots of full tiles of level 0, and so on.
type tree struct {
	size  int64
	edges [][]tlog.Hash
}

// tile is a tile's place and its hashes. A full one has tileWidth of them.
type tile struct {
	level  int
	number int64
	hashes []tlog.Hash
}

// add appends a leaf and hands full each tile that it completes.
func (t *tree) add(leaf tlog.Hash, full func(tile)) {
	t.size++
	for level, h := 0, leaf; ; level++ {
		if level == len(t.edges) {
			t.edges = append(t.edges, nil)
		}
		t.edges[level] = append(t.edges[level], h)
		if len(t.edges[level]) < tileWidth {
			return
		}
		hashes := t.edges[level]
		t.edges[level] = nil
		full(tile{level: level, number: (t.size - 1) >> (tileHeight * (level + 1)), hashes: hashes})
		h = perfectRoot(hashes)
	}
}

// partial gives the tiles of the right edge that are not full and not empty.
func (t *tree) partial() []tile {
	var tiles []tile
	for level, hashes := range t.edges {
		if len(hashes) > 0 {
			tiles = append(tiles, tile{level: level, number: t.size >> (tileHeight * (level + 1)), hashes: hashes})
		}
	}
	return tiles
}

// root is the tree's hash (RFC 6962, section 2.1): the perfect subtrees under the edge, joined from the right.
func (t *tree) root() tlog.Hash {
	var root tlog.Hash
	any := false
	for _, hashes := range t.edges {
		for end := len(hashes); end > 0; {
			width := end & -end // the least subtree is the rightmost one
			h := perfectRoot(hashes[end-width : end])
			if any {
				h = tlog.NodeHash(h, root)
			}
			root, any = h, true
			end -= width
		}
	}
	if !any {
		root, _ = tlog.TreeHash(0, nil) // the empty tree asks for no hash
	}
	return root
}

// clone copies what add may alter.
func (t *tree) clone() tree {
	c := tree{size: t.size, edges: make([][]tlog.Hash, len(t.edges))}
	for level, hashes := range t.edges {
		c.edges[level] = append([]tlog.Hash(nil), hashes...)
	}
	return c
}

// fits says whether the edges are those of a tree of that size.
func (t *tree) fits() bool {
	rest := t.size
	for _, hashes := range t.edges {
		if int64(len(hashes)) != rest%tileWidth {
			return false
		}
		rest /= tileWidth
	}
	return rest == 0 && t.size >= 0
}

// perfectRoot is the hash over a power of two of neighbouring subtrees.
func perfectRoot(hashes []tlog.Hash) tlog.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	level := make([]tlog.Hash, len(hashes)/2)
	for i := range level {
		level[i] = tlog.NodeHash(hashes[2*i], hashes[2*i+1])
	}
	for len(level) > 1 {
		for i := range len(level) / 2 {
			level[i] = tlog.NodeHash(level[2*i], level[2*i+1])
		}
		level = level[:len(level)/2]
	}
	return level[0]
}
