// Package devvault runs a Vault in development mode for `assay dev`: HashiCorp's vault, OpenBao's bao, or
// the vaultserver that a checkout of Assay builds for its own tests. All of them keep everything in
// memory, start unsealed and end with Stop.
//
// The root token is made here and handed over in the environment, not as an argument that every user of
// the machine can read; vaultserver makes its own and tells it on standard output. Readiness is asked of
// the server itself: it is unsealed and takes the token.
package devvault

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrNone means that no program was found that could be run.
var ErrNone = errors.New("no Vault to run: put vault or bao on the PATH, name one with ASSAY_DEV_VAULT, or set VAULT_ADDR to one that runs; in a checkout of assay, `make dev` builds its own")

// Find answers the program to run: the one that is named, else vault or bao from the PATH.
func Find(named string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("the Vault to run: %w", err)
		}
		return filepath.Abs(path)
	}
	for _, name := range []string{"vault", "bao"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNone
}

// Options say what to run.
type Options struct {
	// Binary is the program, as Find answers it. Its name tells its kind: vaultserver…, bao…, and any
	// other is taken for HashiCorp's vault.
	Binary string
	// Listen is the host and port; default 127.0.0.1 and a free port.
	Listen string
	// Log receives what the program logs; nil: it is kept only to explain a failed start.
	Log io.Writer
	// Timeout bounds the start; default 60 s.
	Timeout time.Duration
}

// Server is a Vault that runs. Its methods are safe for concurrent use.
type Server struct {
	// Address is its URL, RootToken may do everything there.
	Address, RootToken string

	command *exec.Cmd
	stdin   io.Closer
	exited  chan struct{}
	stop    sync.Once
}

// Start runs the program and waits until it serves. ctx bounds the start alone; Stop ends the server.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	kept := &tail{}
	log := io.Writer(kept)
	if o.Log != nil {
		log = io.MultiWriter(kept, o.Log)
	}
	var s *Server
	var err error
	if strings.HasPrefix(filepath.Base(o.Binary), "vaultserver") {
		s, err = startOwn(ctx, o, log)
	} else {
		s, err = startStock(ctx, o, log)
	}
	if err == nil {
		err = s.await(ctx)
	}
	if err != nil {
		if s != nil {
			s.Stop()
		}
		return nil, fmt.Errorf("starting %s: %w%s", o.Binary, err, kept.explain())
	}
	return s, nil
}

// startOwn runs Assay's vaultserver, which takes a port by itself and tells where it is.
func startOwn(ctx context.Context, o Options, log io.Writer) (*Server, error) {
	arguments := []string{"-dev", "-exit-with-stdin"}
	if o.Listen != "" {
		arguments = append(arguments, "-listen", o.Listen)
	}
	command := exec.Command(o.Binary, arguments...) //nolint:noctx // it outlives the start; Stop ends it
	command.Stderr = log
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	read := make(chan string, 1)
	s, err := run(command, func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n') // an error shows as an unreadable line
		read <- line
		_, _ = io.Copy(io.Discard, stdout) // until it ends
	})
	if err != nil {
		return nil, err
	}
	select {
	case line := <-read:
		var told struct {
			Address   string `json:"address"`
			RootToken string `json:"root_token"`
		}
		if err := json.Unmarshal([]byte(line), &told); err != nil {
			return s, errors.New("it did not say where it serves")
		}
		s.Address, s.RootToken = told.Address, told.RootToken
		return s, nil
	case <-ctx.Done():
		return s, ctx.Err()
	}
}

// startStock runs vault or bao, which take the same flags and read variables with a prefix of their own.
func startStock(ctx context.Context, o Options, log io.Writer) (*Server, error) {
	listen := o.Listen
	if listen == "" {
		var err error
		if listen, err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	token := rand.Text()
	command := exec.Command(o.Binary, "server", "-dev", "-dev-no-store-token") //nolint:noctx // it outlives the start; Stop ends it
	command.Stdout, command.Stderr = log, log
	for _, prefix := range []string{"VAULT", "BAO"} {
		command.Env = append(command.Env, prefix+"_DEV_ROOT_TOKEN_ID="+token, prefix+"_DEV_LISTEN_ADDRESS="+listen)
	}
	command.Env = append(os.Environ(), command.Env...)
	s, err := run(command, func() {})
	if err != nil {
		return nil, err
	}
	s.Address, s.RootToken = "http://"+listen, token
	return s, nil
}

// freePort finds a port that is free now; somebody may take it before the server does, which then fails
// to start.
func freePort(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// run starts a program; read consumes its standard output before it is waited for.
func run(command *exec.Cmd, read func()) (*Server, error) {
	detach(command)
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	s := &Server{command: command, stdin: stdin, exited: make(chan struct{})}
	go func() {
		read()
		_ = command.Wait() // how it ended is of no interest
		close(s.exited)
	}()
	return s, nil
}

// await asks the server until it is unsealed and takes the root token.
func (s *Server) await(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.ready(ctx) {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func (s *Server) ready(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Address+"/v1/auth/token/lookup-self", nil)
	if err != nil {
		return false
	}
	request.Header.Set("X-Vault-Token", s.RootToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close() // only the status counts
	return response.StatusCode == http.StatusOK
}

// Exited is closed when the server has ended, by Stop or by itself.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// stopGrace is how long a server may take to end by itself.
const stopGrace = 10 * time.Second

// Stop ends the server and waits until it has.
func (s *Server) Stop() {
	s.stop.Do(func() {
		_ = s.stdin.Close()
		_ = s.command.Process.Signal(syscall.SIGTERM) // it may have ended already
	})
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-s.exited:
	case <-timer.C:
		_ = s.command.Process.Kill()
		<-s.exited
	}
}

// tail keeps the last of a log, to explain a start that failed.
type tail struct {
	mu   sync.Mutex // guards text
	text []byte
}

const tailSize = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = t.text[extra:]
	}
	return len(p), nil
}

func (t *tail) explain() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := bytes.TrimSpace(t.text); len(text) > 0 {
		return "; it said:\n" + string(text)
	}
	return ""
}
