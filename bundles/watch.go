package bundles

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long nothing may happen until a change is looked at, and patience how long that is waited for at
// most: a directory that is being written is looked at once, and one that never rests is looked at nevertheless.
const (
	quiet    = 20 * time.Millisecond
	patience = 200 * time.Millisecond
)

// Watch calls changed once at the start, after each change of a file or of anything below a directory, and every
// poll, until ctx ends. What replaces the path by a rename or by swapping a symbolic link is seen too.
func Watch(ctx context.Context, path string, poll time.Duration, changed func()) error {
	if poll <= 0 {
		poll = DefaultPoll
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("watching %s: %w", path, err)
	}
	return watch(ctx, absolute, poll, changed)
}

func watch(ctx context.Context, path string, poll time.Duration, changed func()) (err error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	w := &watched{Watcher: watcher, path: path}
	for {
		w.follow() // before looking, so that nothing is missed between
		changed()
		if !w.next(ctx, poll) {
			return nil
		}
	}
}

type watched struct {
	*fsnotify.Watcher
	path string
}

// follow watches the path's directory, where it may be replaced, that of what a link leads to, and all
// directories below it, and nothing else any more. What cannot be watched is polled.
func (w *watched) follow() {
	wanted := map[string]bool{filepath.Dir(w.path): true}
	if real, err := filepath.EvalSymlinks(w.path); err == nil {
		wanted[filepath.Dir(real)] = true
		_ = filepath.WalkDir(real, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil: // it is gone again, or not to be read: whoever reads will say so
				return nil //nolint:nilerr // what can be watched still is
			case len(wanted) > DefaultMaxFiles:
				return fs.SkipAll
			case entry.IsDir():
				wanted[name] = true
			}
			return nil
		})
	}
	for _, name := range w.WatchList() {
		if !wanted[name] {
			_ = w.Remove(name) // it is gone by itself, at worst
		}
	}
	for name := range wanted {
		_ = w.Add(name)
	}
}

// next waits until something happened and it is quiet again, or until it is time to look anyway. False: ctx ended.
func (w *watched) next(ctx context.Context, poll time.Duration) bool {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	var until time.Time // zero while nothing happened
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-w.Errors: //nolint:errcheck // an overflow, at worst: look
			return true
		case event, open := <-w.Events:
			if !open {
				return ctx.Err() == nil
			}
			if !w.concerns(event.Name) {
				continue
			}
			if until.IsZero() {
				until = time.Now().Add(patience)
			}
			timer.Reset(min(quiet, time.Until(until)))
		}
	}
}

// concerns leaves out the path's neighbours: a log file beside a bundle is written all the time.
func (w *watched) concerns(name string) bool {
	if filepath.Dir(name) != filepath.Dir(w.path) || name == w.path {
		return true
	}
	// Kubernetes swaps this link when it updates a mounted volume.
	return filepath.Base(name) == "..data"
}
