package keyset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// DefaultFilePoll is how often a file is read again even when no change was noticed: notifications do not
// reach over network file systems, nor through a symbolic link into another directory.
const DefaultFilePoll = 30 * time.Second

// File is a JWKS in a file (RFC 7517 section 5), at most MaxJWKSBytes long. Its directory is watched, so
// that a file put in its place by rename is seen, and so is the symbolic-link swap of a mounted Kubernetes
// volume. Write it by rename: a half-written file is refused, and the keys stay as they were.
// poll is how often it is read regardless; zero means DefaultFilePoll.
func File(path string, poll time.Duration) (Source, error) {
	if path == "" || poll < 0 {
		return nil, errors.New("keyset: a file source needs a path, and a poll period that is not negative")
	}
	if poll == 0 {
		poll = DefaultFilePoll
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	return &fileSource{absolute, poll}, nil
}

type fileSource struct {
	path string
	poll time.Duration
}

func (f *fileSource) String() string { return "file " + f.path }
func (f *fileSource) Local() bool    { return true }

func (f *fileSource) Load(context.Context) (Loaded, error) {
	data, err := readFile(f.path)
	if err != nil {
		return Loaded{}, err
	}
	keys, skipped, err := ParseJWKS(data)
	if err != nil {
		return Loaded{}, fmt.Errorf("%s: %w", f.path, err)
	}
	return Loaded{Keys: keys, Skipped: skipped, Next: f.poll}, nil
}

// readFile reads a regular file of at most MaxJWKSBytes, and one byte more so that its parser sees that
// it is too long.
func readFile(path string) (data []byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a named pipe would wait for its writer
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return io.ReadAll(io.LimitReader(file, MaxJWKSBytes+1))
}

// volumeLink is the symbolic link that Kubernetes swaps when it updates a mounted volume.
const volumeLink = "..data"

func (f *fileSource) Watch(ctx context.Context, changed func()) (err error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w", f.path, err)
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	if err := watcher.Add(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("watching %s: %w", f.path, err)
	}
	changed() // what happened before the watch was set
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-watcher.Events:
			if !open {
				return fmt.Errorf("watching %s: the watch ended", f.path)
			}
			if name := filepath.Base(event.Name); name == filepath.Base(f.path) || name == volumeLink {
				changed()
			}
		case err, open := <-watcher.Errors:
			if !open {
				return fmt.Errorf("watching %s: the watch ended", f.path)
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				changed()
				continue
			}
			return fmt.Errorf("watching %s: %w", f.path, err)
		}
	}
}
