package bundles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DefaultPoll is how often a source is asked again that says nothing by itself.
const DefaultPoll = 30 * time.Second

// Loaded is what a source has at one moment.
type Loaded struct {
	// Bundle was checked by the source's ReadConfig; nil: nothing changed since the source last delivered.
	Bundle *Bundle
	// Archive is the bundle as .tar.gz, to be kept for a start without the source. Read accepts it.
	Archive []byte
	// ETag is the server's name for this content (RFC 9110 section 8.8.3); empty where there is none.
	ETag string
}

// Source is a place that bundles come from.
type Source interface {
	// Load reads what is there now. What is wrong with the bundle is a *RefusedError; other errors say that
	// the source could not be read.
	Load(ctx context.Context) (Loaded, error)
	// Run calls deliver with what is new, and with what went wrong, until ctx ends. It calls from one goroutine,
	// and waits for deliver. An error that deliver answers is no error of the source: it says that this content
	// was not wanted, and is not offered again until it changes.
	Run(ctx context.Context, deliver func(Loaded, error) error) error
	// Remote tells that it needs the network.
	Remote() bool
	// String names the place, for people; it holds no credential.
	String() string
}

// SourceConfig says where a bundle comes from and what it must satisfy.
type SourceConfig struct {
	// Location is a directory, an archive (.tar.gz), or the http or https URL of one.
	Location string
	// Read is what each bundle must satisfy.
	Read ReadConfig
	// UnsignedToo takes a bundle without a signature, too, where Read.Verify is given. One with a signature that
	// is not good is refused nevertheless.
	UnsignedToo bool
	// Poll is how often the source is looked at when nothing tells that it changed; default DefaultPoll. Of a URL
	// whole seconds: at least this, at most twice as long, so that replicas do not ask in step.
	Poll time.Duration
	// LongPoll, whole seconds, asks a server to answer only when it has something new, or after this time
	// (Prefer: wait=N, RFC 7240 section 4.3); 0: it is not asked. A server that can says so by the media type
	// application/vnd.openpolicyagent.bundles.
	LongPoll time.Duration
	// HTTP is for URLs.
	HTTP HTTPConfig
	// ETag is that of the content known already, for a start from a kept archive.
	ETag string
}

// NewSource makes the source of a location. It reads nothing yet.
func NewSource(c SourceConfig) (Source, error) {
	if c.Location == "" || c.Poll < 0 || c.LongPoll < 0 || c.LongPoll%time.Second != 0 {
		return nil, errors.New("bundles: a source needs a location, and periods that are not negative (a long poll in whole seconds)")
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if err := c.Read.complete(); err != nil {
		return nil, err
	}
	if IsURL(c.Location) {
		return newDownload(c)
	}
	path, err := filepath.Abs(c.Location)
	if err != nil {
		return nil, fmt.Errorf("bundles: %w", err)
	}
	return &local{path: path, c: c}, nil
}

// IsURL tells whether a location is fetched over the network.
func IsURL(location string) bool {
	return strings.HasPrefix(location, "https://") || strings.HasPrefix(location, "http://")
}

// read checks an archive.
func (c *SourceConfig) read(ctx context.Context, archive []byte) (*Bundle, error) {
	b, err := Read(ctx, bytes.NewReader(archive), c.Read)
	var refused *RefusedError
	if c.UnsignedToo && c.Read.Verify != nil && errors.As(err, &refused) && refused.Reason == ReasonUnsigned {
		plain := c.Read
		plain.Verify = nil
		return Read(ctx, bytes.NewReader(archive), plain)
	}
	return b, err
}

// ReadKept reads an archive that was delivered before, with the checks of today: keys may have been withdrawn
// and the bundle may have expired since.
func ReadKept(ctx context.Context, archive []byte, c SourceConfig) (*Bundle, error) {
	return c.read(ctx, archive)
}

// local is a directory or an archive on this machine.
type local struct {
	path string
	c    SourceConfig
}

func (l *local) String() string { return l.path }
func (l *local) Remote() bool   { return false }

func (l *local) Load(ctx context.Context) (Loaded, error) {
	archive, err := l.archive()
	if err != nil {
		return Loaded{}, named(err, l.c.Read.Name)
	}
	b, err := l.c.read(ctx, archive)
	if err != nil {
		return Loaded{}, err
	}
	return Loaded{Bundle: b, Archive: archive}, nil
}

func named(err error, name string) error {
	var refused *RefusedError
	if errors.As(err, &refused) {
		refused.Name = name
		return refused
	}
	return err
}

// settles is how often a directory is read until two readings are the same.
const settles = 4

// archive gives the archive, or that of the directory. A directory is written file by file, so it is read until
// two readings agree; who wants more puts a new directory in its place by a rename or a symbolic link.
func (l *local) archive() ([]byte, error) {
	info, err := os.Stat(l.path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return readFile(l.path, info, l.c.Read.MaxBytes)
	}
	seen, err := readDir(l.path, l.c.Read.budget())
	for range settles {
		if err != nil {
			return nil, err
		}
		var again files
		if again, err = readDir(l.path, l.c.Read.budget()); err == nil && again.digest() == seen.digest() {
			return pack(again)
		}
		seen = again
	}
	if err == nil {
		err = errors.New("the directory changes while it is read")
	}
	return nil, err
}

func readFile(path string, info os.FileInfo, limit int64) (archive []byte, err error) {
	if !info.Mode().IsRegular() { // opening a named pipe would wait for its writer
		return nil, refuse(ReasonPath, "%s is neither a directory nor a plain file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return readAll(io.Reader(file), limit)
}

// Run looks again at each change, and every Poll in any case: notifications do not reach over network file
// systems.
func (l *local) Run(ctx context.Context, deliver func(Loaded, error) error) error {
	var last string
	var failed bool
	return watch(ctx, l.path, l.c.Poll, func() {
		loaded, err := l.Load(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			last, failed = "", true
			_ = deliver(Loaded{}, err) // what it answers is about content, and there is none
		case loaded.Bundle.Digest == last && !failed:
		default:
			last, failed = loaded.Bundle.Digest, false
			_ = deliver(loaded, nil) // the same content is not offered again, whatever was said of it
		}
	})
}
