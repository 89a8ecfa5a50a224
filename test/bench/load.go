package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// drive sends requests over that many connections for a while, each waiting for its answer before the next.
// It gives requests a second and the server's CPU time a request in microseconds. Every answer must be an allow.
func (p *peer) drive(ctx context.Context, tokens []string, connections int, length time.Duration) (rate, cpu float64, err error) {
	requests := make([][]byte, len(tokens))
	for i, token := range tokens {
		body := p.body(token)
		requests[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", p.path, p.address, len(body), body)
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	before, err := cpuTime(p.pid())
	if err != nil {
		return 0, 0, err
	}
	var answered atomic.Int64
	errs, latencies := make([]error, connections), make([][]time.Duration, connections)
	began := time.Now()
	var all sync.WaitGroup
	for i := range connections {
		all.Go(func() { errs[i] = p.converse(ctx, requests, &answered, &latencies[i]) })
	}
	all.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return 0, 0, err
	}
	after, err := cpuTime(p.pid())
	if err != nil {
		return 0, 0, err
	}
	p.latencies = append(p.latencies, latencies...)
	n := float64(answered.Load())
	return n / took.Seconds(), float64((after - before).Microseconds()) / n, nil
}

func (p *peer) converse(ctx context.Context, requests [][]byte, answered *atomic.Int64, latencies *[]time.Duration) error {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return err
	}
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, 16<<10)
	var body []byte
	for ctx.Err() == nil {
		asked := time.Now()
		if _, err := connection.Write(requests[p.next.Add(1)%int64(len(requests))]); err != nil {
			return err
		}
		if body, err = readAnswer(reader, body); err != nil {
			return err
		}
		if !bytes.Contains(body, []byte(`"allow":true`)) {
			return fmt.Errorf("not an allow: %.300s", body)
		}
		answered.Add(1)
		if p.timed {
			*latencies = append(*latencies, time.Since(asked))
		}
	}
	return nil
}

// readAnswer reads one HTTP/1.1 response with a Content-Length, or a chunked one, into buffer.
func readAnswer(r *bufio.Reader, buffer []byte) ([]byte, error) {
	status, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if !strings.Contains(status, " 200 ") {
		return nil, fmt.Errorf("answered %s", strings.TrimSpace(status))
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return readChunks(r, buffer[:0])
	}
	if cap(buffer) < length {
		buffer = make([]byte, length)
	}
	buffer = buffer[:length]
	_, err = io.ReadFull(r, buffer)
	return buffer, err
}

func readChunks(r *bufio.Reader, buffer []byte) ([]byte, error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return nil, err
		}
		start := len(buffer)
		buffer = append(buffer, make([]byte, size+2)...)
		if _, err := io.ReadFull(r, buffer[start:]); err != nil {
			return nil, err
		}
		buffer = buffer[:len(buffer)-2]
		if size == 0 {
			return buffer, nil
		}
	}
}

// cpuTime is what the process has used so far, in user and system mode (proc(5), stat fields 14 and 15, in
// ticks of 10 ms).
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time needs Linux: %w", err)
	}
	_, rest, ok := bytes.Cut(text, []byte(") "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat has another shape")
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
