package realvault

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/assaypdp/assay/test/loopback"
)

// Options say how to launch a server.
type Options struct {
	// Binary is the program that Build made; required.
	Binary string
	// Dir keeps the data in files, so that the server can be started again; empty: in memory.
	Dir string
	// Log receives the server's log; nil discards it.
	Log io.Writer
}

// Server is a running Vault. Its methods are for one goroutine at a time.
type Server struct {
	// Address is its URL, the same after Restart. RootToken may do everything.
	Address, RootToken string

	options   Options
	port      *loopback.Port // kept for Restart
	unsealKey string
	process   *process
}

// process is one run of the program.
type process struct {
	command *exec.Cmd
	stdin   io.Closer // its end stops the server
	exited  chan struct{}
	once    sync.Once
}

// Launch starts a server on a free port of 127.0.0.1 and waits until it serves, unsealed.
func Launch(ctx context.Context, o Options) (*Server, error) {
	port, err := loopback.Reserve()
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, port: port}
	return s, s.start(ctx)
}

func (s *Server) start(ctx context.Context) error {
	arguments := []string{"-listen", s.port.Address, "-exit-with-stdin"}
	if s.options.Dir != "" {
		arguments = append(arguments, "-storage", "file", "-dir", s.options.Dir)
	}
	command := exec.Command(s.options.Binary, arguments...)
	stdin, err := command.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	var log bytes.Buffer
	command.Stderr = &log
	if s.options.Log != nil {
		command.Stderr = s.options.Log
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting the Vault server: %w", err)
	}
	s.process = &process{command: command, stdin: stdin, exited: make(chan struct{})}
	lines := make(chan string, 1)
	go func(p *process) {
		line, _ := bufio.NewReader(stdout).ReadString('\n') // an error shows as an unreadable line
		lines <- line
		_, _ = io.Copy(io.Discard, stdout) // until it ends
		_ = command.Wait()                 // how it ended is of no interest
		close(p.exited)
	}(s.process)
	select {
	case line := <-lines:
		return s.ready(line, &log)
	case <-ctx.Done():
		s.Kill()
		return fmt.Errorf("waiting for the Vault server: %w", ctx.Err())
	}
}

func (s *Server) ready(line string, log *bytes.Buffer) error {
	var told struct {
		Address   string `json:"address"`
		RootToken string `json:"root_token"`
		UnsealKey string `json:"unseal_key"`
	}
	if err := json.Unmarshal([]byte(line), &told); err != nil {
		s.Kill()
		return fmt.Errorf("the Vault server did not start: %s", log)
	}
	s.Address, s.RootToken, s.unsealKey = told.Address, told.RootToken, told.UnsealKey
	return nil
}

// CPU is the processor time that the server has used since it was last started. It reads /proc, so it is an error
// elsewhere than on Linux.
func (s *Server) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	// proc_pid_stat(5): after the name, which may hold anything and ends with the last parenthesis, utime and stime
	// are the 12th and 13th fields, in hundredths of a second.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc tells %d fields of the server's process", len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// Stop ends the server in an orderly way.
func (s *Server) Stop() {
	s.process.once.Do(func() { _ = s.process.stdin.Close() })
	<-s.process.exited
}

// Kill ends the server with SIGKILL, as a crash would.
func (s *Server) Kill() {
	_ = s.process.command.Process.Signal(syscall.SIGKILL) // it may have ended already
	<-s.process.exited
}

// Close kills the server for good.
func (s *Server) Close() {
	s.Kill()
	_ = s.port.Release() // nobody needs the port any more
}

// Restart starts a server over files again, on the same address, after Stop or Kill.
func (s *Server) Restart(ctx context.Context) error {
	if s.options.Dir == "" {
		return errors.New("a Vault in memory cannot be started again: launch it with a Dir")
	}
	return s.start(ctx)
}

// Seal seals the server.
func (s *Server) Seal(ctx context.Context) error { return s.put(ctx, "sys/seal", nil) }

// Unseal opens it again.
func (s *Server) Unseal(ctx context.Context) error {
	return s.put(ctx, "sys/unseal", map[string]string{"key": s.unsealKey})
}

func (s *Server) put(ctx context.Context, path string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, s.Address+"/v1/"+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", s.RootToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		return fmt.Errorf("%s: status %d: %s (%w)", path, response.StatusCode, answer, err)
	}
	return nil
}
