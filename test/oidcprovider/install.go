package oidcprovider

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"
)

//go:embed package.json package-lock.json server.mjs resourceserver.mjs
var project embed.FS

// leastNode is the oldest major version of Node.js that runs the program.
const leastNode = 20

// ErrUnavailable is wrapped where this machine cannot have the provider: Node.js or npm is missing or too
// old, or npm cannot reach its registry. Tests then skip.
var ErrUnavailable = errors.New("oidc-provider is not available here")

// Install answers the directory in which the program is installed with its dependencies, exactly as the
// lock file says. It is installed once for each state of the program, in the user's cache directory.
func Install(ctx context.Context) (string, error) {
	if err := checkNode(ctx); err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	files, sum, err := read()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "assay", "oidcprovider-"+sum)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(dir, "lock")).Lock()
	if err != nil {
		return "", fmt.Errorf("waiting for another installation: %w", err)
	}
	defer unlock()
	installed := filepath.Join(dir, "installed")
	if _, err := os.Stat(installed); err == nil {
		return dir, nil
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return "", err
		}
	}
	if err := npm(ctx, dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(installed, nil, 0o644)
}

// read gives the program's files and a hash over them.
func read() (files map[string][]byte, sum string, err error) {
	entries, err := project.ReadDir(".")
	if err != nil {
		return nil, "", err
	}
	files, all := make(map[string][]byte, len(entries)), sha256.New()
	for _, entry := range entries {
		data, err := project.ReadFile(entry.Name())
		if err != nil {
			return nil, "", err
		}
		files[entry.Name()] = data
		fmt.Fprintf(all, "%s %d\n%s", entry.Name(), len(data), data) // a hash never fails
	}
	return files, hex.EncodeToString(all.Sum(nil))[:16], nil
}

func checkNode(ctx context.Context) error {
	output, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return fmt.Errorf("%w: Node.js %d or later is needed: %w", ErrUnavailable, leastNode, err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(output)), "v"), ".")
	if version, err := strconv.Atoi(major); err != nil || version < leastNode {
		return fmt.Errorf("%w: Node.js %d or later is needed, this is %s", ErrUnavailable, leastNode, bytes.TrimSpace(output))
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return fmt.Errorf("%w: npm is needed: %w", ErrUnavailable, err)
	}
	return nil
}

// unreachable are npm's words for a registry that cannot be reached.
var unreachable = []string{"ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "ERR_SOCKET_TIMEOUT", "ENOTCACHED", "E502", "E503", "E504"}

func npm(ctx context.Context, dir string) error {
	command := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000")
	command.Dir = dir
	output, err := command.CombinedOutput()
	if err == nil {
		return nil
	}
	for _, code := range unreachable {
		if bytes.Contains(output, []byte(code)) {
			return fmt.Errorf("%w: npm cannot reach its registry (%s)", ErrUnavailable, code)
		}
	}
	return fmt.Errorf("npm ci: %w: %s", err, bytes.TrimSpace(output))
}
