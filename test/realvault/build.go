// Package realvault starts a real Vault for tests: not a fake of its API, but Vault itself, built from
// the nested module test/vaultserver.
//
// Build compiles the server once for each state of that module and keeps the result in the user's cache
// directory; a lock lets the test programs of many packages ask at the same time. Launch runs it, in
// memory or over files, and a Server over files can be sealed, killed and started again on its address.
// A Proxy stands between a client and the server and makes it slow, silent, broken or absent. A server
// ends with the program that started it, however that ends. Package vaulttest wraps all this for tests.
package realvault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// progressEvery is how often Build says that it still builds.
const progressEvery = 15 * time.Second

// Build answers the path of the server program, compiled from the checkout that holds the working
// directory. The first build takes some minutes of CPU time, what follows is found in the cache.
// Progress is told on the given writer, in lines.
func Build(ctx context.Context, progress io.Writer) (string, error) {
	source, err := findSource()
	if err != nil {
		return "", err
	}
	sum, err := hash(source)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	dir := filepath.Join(cache, "assay", "vaultserver-"+sum)
	binary := filepath.Join(dir, "vaultserver")
	if built(binary) {
		return binary, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(dir, "lock")).Lock()
	if err != nil {
		return "", fmt.Errorf("waiting for another build: %w", err)
	}
	defer unlock()
	if built(binary) {
		return binary, nil
	}
	return binary, compile(ctx, source, binary, progress)
}

func built(binary string) bool {
	info, err := os.Stat(binary)
	return err == nil && info.Mode().IsRegular()
}

func compile(ctx context.Context, source, binary string, progress io.Writer) error {
	started := time.Now()
	say(progress, "building the Vault server for tests (once; minutes the first time, then cached)")
	command := exec.CommandContext(ctx, "go", "build", "-o", binary+".new", ".")
	command.Dir = source
	command.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	done := make(chan error, 1)
	var output []byte
	go func() {
		var err error
		output, err = command.CombinedOutput()
		done <- err
	}()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			say(progress, "still building the Vault server (%s)", time.Since(started).Round(time.Second))
		case err := <-done:
			if err != nil {
				return fmt.Errorf("building %s: %w\n%s", source, err, output)
			}
			say(progress, "built the Vault server in %s", time.Since(started).Round(time.Second))
			return os.Rename(binary+".new", binary)
		}
	}
}

func say(progress io.Writer, format string, values ...any) {
	if progress != nil {
		_, _ = fmt.Fprintf(progress, format+"\n", values...) // a lost progress line harms nobody
	}
}

// findSource walks up from the working directory to the checkout with the nested module.
func findSource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		source := filepath.Join(dir, "test", "vaultserver")
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			return source, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no test/vaultserver/go.mod in the working directory or above it: run this in a checkout of assay")
		}
		dir = parent
	}
}

// hash names the state of the source: its files, the toolchain and the platform.
func hash(source string) (string, error) {
	names, err := filepath.Glob(filepath.Join(source, "*.go"))
	if err != nil {
		return "", err
	}
	names = append(names, filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum"))
	sum := sha256.New()
	_, _ = fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH) // a hash never fails
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintln(sum, filepath.Base(name), len(data))
		_, _ = sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}
