package privacy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/assaypdp/assay/test/program"
)

var assay string // the program's path; set by TestMain, then only read

func TestMain(m *testing.M) {
	os.Exit(program.Run(m, func(path string) { assay = path }))
}

// server is the real program, in a folder in which all is that it writes.
type server struct {
	t       *testing.T
	dir     string
	base    string
	command *exec.Cmd
	sent    tokens
	// written is what was read of it over HTTP that is written down elsewhere, the metrics, by name.
	written map[string][]byte
}

func start(t *testing.T, dir string) *server {
	t.Helper()
	s := &server{t: t, dir: dir, written: make(map[string][]byte)}
	log, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the program has its own
	s.command = exec.CommandContext(context.Background(), assay, "serve", "--config", filepath.Join(dir, "assay.yaml"))
	s.command.Stderr, s.command.Stdout = log, log
	s.command.Cancel = func() error { return s.command.Process.Signal(os.Interrupt) }
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.command.ProcessState == nil {
			_ = s.command.Process.Kill()
			_ = s.command.Wait()
		}
	})
	deadline := time.Now().Add(3 * time.Minute)
	for s.base == "" {
		if time.Now().After(deadline) {
			t.Fatalf("the program does not listen:\n%s", s.log())
		}
		for line := range bytes.Lines(s.log()) {
			var event struct{ Msg, Address string }
			if json.Unmarshal(line, &event) == nil && event.Msg == "listening" {
				s.base = "http://" + event.Address
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return s
}

func (s *server) log() []byte {
	text, err := os.ReadFile(filepath.Join(s.dir, "stderr"))
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// stop keeps the metrics and ends the program, which then has written everything.
func (s *server) stop(bearer string) {
	s.t.Helper()
	status, metrics := s.send(request{method: "GET", path: "/metrics", bearer: bearer})
	if status != http.StatusOK || len(metrics) < 1000 {
		s.t.Errorf("the metrics: %d %s", status, metrics)
	}
	s.written["metrics"] = metrics
	if err := s.command.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
	if err := s.command.Wait(); err != nil {
		var exit *exec.ExitError
		s.t.Errorf("the program ended with %v (%v):\n%s", err, errors.As(err, &exit), s.log())
	}
}

type request struct {
	method, path, media, bearer string
	headers                     map[string]string
	body                        []byte
}

// send asks; again where the server closed the connection first, which waits five seconds for a request's header.
func (s *server) send(r request) (status int, answer []byte) {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; {
		status, answer, err := s.sendOnce(r)
		if err == nil {
			return status, answer
		}
		if !errors.Is(err, io.EOF) || time.Now().After(deadline) {
			s.t.Fatal(err)
		}
		s.t.Logf("asked again: %v", err)
	}
}

func (s *server) sendOnce(r request) (status int, answer []byte, err error) {
	s.t.Helper()
	q, err := http.NewRequestWithContext(s.t.Context(), r.method, s.base+r.path, bytes.NewReader(r.body))
	if err != nil {
		s.t.Fatal(err)
	}
	if r.media != "" {
		q.Header.Set("Content-Type", r.media)
	}
	if r.bearer != "" {
		q.Header.Set("Authorization", "Bearer "+r.bearer)
	}
	for name, value := range r.headers {
		q.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

func (s *server) post(path string, body any, bearer string, headers map[string]string) (int, []byte) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.send(request{method: "POST", path: path, media: "application/json", bearer: bearer, headers: headers, body: text})
}

// everything is all that the program wrote, by name: files of its folder but those it was given, sealed segments as they
// are and unpacked.
func (s *server) everything(given map[string]bool) map[string][]byte {
	s.t.Helper()
	all := make(map[string][]byte)
	for name, text := range s.written {
		all[name] = text
	}
	reader, err := zstd.NewReader(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Close()
	err = fs.WalkDir(os.DirFS(s.dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || given[strings.SplitN(path, "/", 2)[0]] {
			return err
		}
		text, err := os.ReadFile(filepath.Join(s.dir, path))
		if err != nil {
			return err
		}
		all[path] = text
		if strings.HasSuffix(path, ".zst") {
			if all[path+" (unpacked)"], err = reader.DecodeAll(text, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}
