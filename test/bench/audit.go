package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

// auditConnections are how many callers share a sync of the log.
var auditConnections = []int{256, 512}

// auditResult is Assay with and without an audit log, and the disk that the log is on.
type auditResult struct {
	Connections int         `json:"connections"`
	Modes       []auditMode `json:"modes"`
	// SyncP50 and SyncP99 are how long a write of 4096 bytes and fdatasync took, in microseconds, with nothing else.
	SyncP50 float64 `json:"fdatasync_p50_us"`
	SyncP99 float64 `json:"fdatasync_p99_us"`
}

// auditMode is one way to record. Ratio is to audit off in the same round: median, least and largest.
type auditMode struct {
	Mode     string  `json:"mode"`
	Requests float64 `json:"requests_per_second"`
	CPU      float64 `json:"cpu_us_per_request"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Ratio    float64 `json:"ratio"`
	Least    float64 `json:"least"`
	Largest  float64 `json:"largest"`
}

// auditing measures the modes, with each number of connections, in rounds that alternate between them.
func auditing(ctx context.Context, bin, folder string, m *maker, short bool) (results []*auditResult, err error) {
	rounds, length, count := 9, 1500*time.Millisecond, 8_000
	if short {
		rounds, length, count = 1, 300*time.Millisecond, 100
	}
	peers, err := auditPeers(ctx, bin, folder)
	defer stopPeers(peers)
	if err != nil {
		return nil, err
	}
	tokens := m.tokens(count)
	if err := warmUp(ctx, peers, tokens); err != nil {
		return nil, err
	}
	for _, n := range auditConnections {
		result, err := auditingAt(ctx, peers, tokens, folder, n, rounds, length)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return results, nil
}

func auditingAt(ctx context.Context, peers []*peer, tokens []string, folder string, connections, rounds int, length time.Duration) (*auditResult, error) {
	rates, costs := make(map[string][]float64), make(map[string][]float64)
	var syncs []time.Duration
	for _, p := range peers {
		p.timed, p.latencies = true, nil
	}
	for range rounds {
		for _, p := range peers {
			rate, cpu, err := p.drive(ctx, tokens, connections, length)
			if err != nil {
				return nil, fmt.Errorf("audit %s: %w", p.name, err)
			}
			rates[p.name], costs[p.name] = append(rates[p.name], rate), append(costs[p.name], cpu)
		}
		took, err := syncing(folder, 30)
		if err != nil {
			return nil, err
		}
		syncs = append(syncs, took...)
	}
	result := &auditResult{Connections: connections, SyncP50: percentile(syncs, 0.5), SyncP99: percentile(syncs, 0.99)}
	for _, p := range peers {
		ratios := make([]float64, rounds)
		for i := range rounds {
			ratios[i] = rates[p.name][i] / rates[peers[0].name][i]
		}
		all := slices.Concat(p.latencies...)
		result.Modes = append(result.Modes, auditMode{
			Mode: p.name, Requests: median(rates[p.name]), CPU: median(costs[p.name]), P50: percentile(all, 0.5), P99: percentile(all, 0.99),
			Ratio: median(ratios), Least: slices.Min(ratios), Largest: slices.Max(ratios),
		})
	}
	return result, nil
}

// auditPeers starts one Assay for each mode; off is the first.
func auditPeers(ctx context.Context, bin, folder string) (peers []*peer, err error) {
	modes := []string{"off", "durable", "buffered"}
	addresses, err := freeAddresses(len(modes))
	if err != nil {
		return nil, err
	}
	for i, mode := range modes {
		text := "log_level: warn\nlimits: {token_cache_bytes: 268435456}\nissuers:\n  - issuer: " + issuerName + "\n    keys: {file: jwks.json}\n    algorithms: [ES256]\n"
		if mode != "off" {
			text += "audit: {dir: audit-" + mode + ", mode: " + mode + "}\n"
		}
		path := filepath.Join(folder, "audit-"+mode+".yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return peers, err
		}
		p := &peer{name: mode, address: addresses[i], path: "/decide", body: func(token string) []byte {
			return fmt.Appendf(nil, `{"token":%q,"request":{"audience":%q}}`, token, audience)
		}}
		if err := p.start(filepath.Join(bin, "assay"), "serve", "--config", path, "--listen", addresses[i]); err != nil {
			return peers, err
		}
		peers = append(peers, p)
		if err := p.await(ctx); err != nil {
			return peers, err
		}
	}
	return peers, nil
}

// syncing appends blocks to a file and syncs each.
func syncing(folder string, times int) ([]time.Duration, error) {
	file, err := os.CreateTemp(folder, "sync-")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	block := make([]byte, 4096)
	took := make([]time.Duration, times)
	for i := range took {
		began := time.Now()
		if _, err := file.Write(block); err != nil {
			return nil, err
		}
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			return nil, err
		}
		took[i] = time.Since(began)
	}
	return took, nil
}

func percentile(values []time.Duration, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return float64(values[min(len(values)-1, int(p*float64(len(values))))].Nanoseconds()) / 1e3
}

func printAudit(results []*auditResult) error {
	for _, r := range results {
		if err := r.print(); err != nil {
			return err
		}
	}
	return nil
}

func (r *auditResult) print() error {
	fmt.Printf("\naudit log at %d connections; the disk: write and fdatasync of 4096 bytes p50 %.0f µs, p99 %.0f µs\n", r.Connections, r.SyncP50, r.SyncP99)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "audit\trequests/s\tCPU µs/request\tp50 µs\tp99 µs\tof audit off\tspread")
	for _, m := range r.Modes {
		fmt.Fprintf(table, "%s\t%.0f\t%.1f\t%.0f\t%.0f\t%.2f×\t%.2f–%.2f\n", m.Mode, m.Requests, m.CPU, m.P50, m.P99, m.Ratio, m.Least, m.Largest)
	}
	return table.Flush()
}
