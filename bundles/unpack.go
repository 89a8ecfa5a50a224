package bundles

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Files with a meaning of their own, all at the top of a bundle.
const (
	manifestFile      = ".manifest"
	protoManifestFile = ".manifest.pb"
	signaturesFile    = ".signatures.json"
)

// files are the contents of a bundle by path, without a leading slash.
type files map[string][]byte

// names in a fixed order.
func (f files) names() []string { return slices.Sorted(maps.Keys(f)) }

// digest is Bundle.Digest. Lengths stand before names and contents, so that no two sets of files give the same
// input to the hash.
func (f files) digest() string {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		_, _ = h.Write(n[:]) // a hash never fails
		_, _ = h.Write(b)
	}
	for _, name := range f.names() {
		if name != signaturesFile {
			part([]byte(name))
			part(f[name])
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// budget is what may still be unpacked.
type budget struct {
	bytes, maxBytes int64
	files, maxFiles int
}

func (c *ReadConfig) budget() *budget {
	return &budget{bytes: c.MaxUnpackedBytes, maxBytes: c.MaxUnpackedBytes, files: c.MaxFiles, maxFiles: c.MaxFiles}
}

// entry counts one entry, whatever it is.
func (b *budget) entry() error {
	if b.files--; b.files < 0 {
		return refuse(ReasonTooLarge, "it holds more than %d entries", b.maxFiles)
	}
	return nil
}

// read reads one file whole. What its header says about its size is not believed.
func (b *budget) read(r io.Reader) ([]byte, error) {
	var text bytes.Buffer
	n, err := io.Copy(&text, io.LimitReader(r, b.bytes+1))
	if b.bytes -= n; b.bytes < 0 {
		return nil, refuse(ReasonTooLarge, "its files hold more than %d bytes", b.maxBytes)
	}
	return text.Bytes(), err
}

// readAll reads an archive, but not more than is allowed.
func readAll(src io.Reader, limit int64) ([]byte, error) {
	var archive bytes.Buffer
	n, err := io.Copy(&archive, io.LimitReader(src, limit+1))
	switch {
	case err != nil:
		return nil, err
	case n > limit:
		return nil, refuse(ReasonTooLarge, "the archive is longer than %d bytes", limit)
	}
	return archive.Bytes(), nil
}

// unpack reads a gzipped tar archive. Bytes after the archive's end are refused: OPA would not see them, and
// nothing signs them.
func unpack(archive []byte, b *budget) (files, error) {
	// The one reader of both, so that what gzip leaves over can be seen.
	packed := bytes.NewReader(archive)
	plain, err := gzip.NewReader(packed)
	if err != nil {
		return nil, refuse(ReasonMalformed, "it is no gzip archive: %v", err)
	}
	plain.Multistream(false)
	// Padding after the archive costs time and nothing else; it is bounded like the rest.
	bounded := &io.LimitedReader{R: plain, N: b.bytes + int64(b.files)*1024 + 1<<20}
	entries := tar.NewReader(bounded)
	all := make(files)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = all.add(entries, header, b)
		}
		if bounded.N <= 0 {
			return nil, refuse(ReasonTooLarge, "unpacked, it is longer than files of %d bytes can be", b.maxBytes)
		}
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			return nil, err
		case err != nil:
			return nil, refuse(ReasonMalformed, "the archive cannot be read to its end: %v", err)
		}
	}
	if _, err := io.Copy(io.Discard, bounded); err != nil {
		return nil, refuse(ReasonMalformed, "the archive cannot be read to its end: %v", err)
	}
	switch {
	case bounded.N <= 0:
		return nil, refuse(ReasonTooLarge, "unpacked, it is longer than files of %d bytes can be", b.maxBytes)
	case packed.Len() > 0:
		return nil, refuse(ReasonMalformed, "%d bytes follow the end of the archive", packed.Len())
	}
	return all, nil
}

func (f files) add(r io.Reader, header *tar.Header, b *budget) error {
	if err := b.entry(); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		trimmed := strings.TrimSuffix(header.Name, "/")
		if trimmed == "" || trimmed == "." {
			return nil
		}
		_, err := cleanName(trimmed)
		return err
	case tar.TypeXGlobalHeader: // git archive writes one; it describes, and holds nothing
		return nil
	case tar.TypeReg:
	default:
		return refuse(ReasonPath, "%q is neither a file nor a directory (type %q); links and devices have no place in a bundle", header.Name, header.Typeflag)
	}
	name, err := cleanName(header.Name)
	if err != nil {
		return err
	}
	if _, there := f[name]; there {
		return refuse(ReasonPath, "%q is there twice", name)
	}
	text, err := b.read(r)
	if err != nil {
		return err
	}
	f[name] = text
	return nil
}

// cleanName accepts a name that is already plain: "a/b", "/a/b" as OPA writes, "./a/b" as tar does.
func cleanName(name string) (string, error) {
	plain := strings.TrimPrefix(strings.TrimPrefix(name, "."), "/")
	if !strings.HasPrefix(name, "./") && !strings.HasPrefix(name, "/") {
		plain = name
	}
	if !fs.ValidPath(plain) || plain == "." || strings.ContainsAny(plain, "\\\x00:") || !utf8.ValidString(plain) {
		return "", refuse(ReasonPath, "%q is no plain path inside the bundle", name)
	}
	return plain, nil
}

// readDir reads the files of a directory. Symbolic links are followed within it (Kubernetes mounts ConfigMaps by
// them) and refused where they lead out. Names that start with a dot are passed over, OPA's own apart.
func readDir(dir string, b *budget) (files, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	all := make(files)
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case strings.HasPrefix(path.Base(name), ".") && name != manifestFile && name != protoManifestFile && name != signaturesFile:
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return b.entry()
		}
		return all.addFrom(root, name, b)
	})
	return all, errors.Join(err, root.Close())
}

func (f files) addFrom(root *os.Root, name string, b *budget) error {
	if err := b.entry(); err != nil {
		return err
	}
	if _, err := cleanName(name); err != nil {
		return err
	}
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		return refuse(ReasonPath, "%q: %v", name, err)
	case !info.Mode().IsRegular():
		return refuse(ReasonPath, "%q is no plain file", name)
	}
	file, err := root.Open(name)
	if err != nil {
		return err
	}
	text, err := b.read(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	f[name] = text
	return nil
}
