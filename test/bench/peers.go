package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed equivalent.rego
var equivalent string

// peer is a server that answers the same question.
type peer struct {
	name    string
	address string
	path    string
	body    func(token string) []byte
	command *exec.Cmd
	// next counts requests, so that each round goes on in the tokens where the last one ended.
	next atomic.Int64
	// timed has latencies kept, of each connection apart.
	timed     bool
	latencies [][]time.Duration
}

func (p *peer) pid() int { return p.command.Process.Pid }

// startPeers starts all servers; Assay is the first.
func startPeers(ctx context.Context, bin, folder string, m *maker) (peers []*peer, err error) {
	defer func() {
		if err != nil {
			stopPeers(peers)
		}
	}()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		return path
	}
	// Both caches of verified tokens have room for every token of the largest workload, as OPA's below has.
	config := write("assay.yaml", "log_level: warn\nlimits: {token_cache_bytes: 268435456}\nissuers:\n  - issuer: "+issuerName+"\n    keys: {file: jwks.json}\n    algorithms: [ES256]\n")
	rego := write("equivalent.rego", equivalent)
	data := write("data.json", fmt.Sprintf(`{"bench":{"jwks":%q,"issuer":%q}}`, m.jwks(), issuerName))
	cached := write("cached.yaml", "caching:\n  inter_query_builtin_value_cache:\n    named:\n      io_jwt:\n        max_num_entries: 100000\n")
	if err != nil {
		return nil, err
	}
	ask := func(token string) []byte {
		return fmt.Appendf(nil, `{"token":%q,"request":{"audience":%q}}`, token, audience)
	}
	askOPA := func(token string) []byte {
		return fmt.Appendf(nil, `{"input":{"token":%q,"request":{"audience":%q}}}`, token, audience)
	}
	addresses, err := freeAddresses(4)
	if err != nil {
		return nil, err
	}
	opa := func(address string, more ...string) []string {
		return append([]string{"run", "--server", "--addr", address, "--log-level", "error", "--skip-version-check"}, append(more, rego, data)...)
	}
	for _, p := range []struct {
		peer    *peer
		program string
		args    []string
	}{
		{&peer{name: "assay", address: addresses[0], path: "/decide", body: ask}, "assay", []string{"serve", "--config", config, "--listen", addresses[0]}},
		{&peer{name: "OPA server", address: addresses[1], path: "/v1/data/bench/decision", body: askOPA}, "opa", opa(addresses[1])},
		{&peer{name: "OPA server, token cache", address: addresses[2], path: "/v1/data/bench/decision", body: askOPA}, "opa", opa(addresses[2], "--config-file", cached)},
		{&peer{name: "mux + encoding/json", address: addresses[3], path: "/decide", body: ask}, "muxpeer", []string{addresses[3]}},
	} {
		if err := p.peer.start(filepath.Join(bin, p.program), p.args...); err != nil {
			return peers, err
		}
		peers = append(peers, p.peer)
	}
	for _, p := range peers {
		if err := p.await(ctx); err != nil {
			return peers, err
		}
	}
	return peers, nil
}

func (p *peer) start(program string, args ...string) error {
	p.command = exec.Command(program, args...)
	p.command.Stderr = os.Stderr
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	return nil
}

func stopPeers(peers []*peer) {
	for _, p := range peers {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
	}
}

func (p *peer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %w", p.name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func freeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // all are held until all are found, so that they differ
		addresses[i] = listener.Addr().String()
	}
	return addresses, nil
}
