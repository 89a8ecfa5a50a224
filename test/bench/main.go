// Command bench measures Assay against peers on this machine, in one run: OPA's own server doing
// io.jwt.decode_verify and equivalent rules, with and without its cache of verified tokens, and a plain
// gorilla/mux handler that decodes the same body with encoding/json and encodes the same answer.
//
// Every server is a process of its own and is driven with the same tokens over the same number of kept-alive
// connections, in rounds that alternate between them, so that what else the machine does strikes all alike.
// Figures are ratios; the load generator shares the cores, so the server's CPU time a request is given too.
//
// Then Assay without an audit log, with a durable and with a buffered one are measured against each other in the same
// way, with what a sync of the same disk takes between the rounds.
//
// Then the way of a decision is measured inside this process, without HTTP, step by step and in units of one
// bare signature verification.
//
// It is started by ./run, which builds the servers.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// workload is how many distinct tokens are in use, all of them seen before: of few a verdict of the same second is
// mostly at hand, of many hardly ever.
type workload struct {
	Name   string
	Tokens int
}

func main() {
	short := flag.Bool("short", false, "one short round each, to see that it works")
	only := flag.Bool("audit", false, "measure the audit log alone")
	asJSON := flag.Bool("json", false, "print JSON instead of a table")
	bin := flag.String("bin", "bin", "folder with the programs assay, opa and muxpeer")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *bin, *short, *asJSON, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, short, asJSON, onlyAudit bool) error {
	rounds, length := 5, 1500*time.Millisecond
	workloads := []workload{{"remembered", 500}, {"seen before", 8_000}}
	connections := []int{16, 256}
	stepRounds, stepTokens := 15, 1000
	if short {
		stepRounds, stepTokens = 3, 200
		rounds, length = 1, 300*time.Millisecond
		workloads = []workload{{"remembered", 100}}
		connections = []int{16}
	}
	folder, err := os.MkdirTemp("", "assay-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	maker, err := newMaker()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "jwks.json"), maker.jwks(), 0o600); err != nil {
		return err
	}
	audited, err := auditing(ctx, bin, folder, maker, short)
	if err != nil {
		return err
	}
	if onlyAudit {
		if asJSON {
			return json.NewEncoder(os.Stdout).Encode(audited)
		}
		return printAudit(audited)
	}
	peers, err := startPeers(ctx, bin, folder, maker)
	if err != nil {
		return err
	}
	defer stopPeers(peers)
	var results []result
	for _, w := range workloads {
		tokens := maker.tokens(w.Tokens)
		if err := warmUp(ctx, peers, tokens); err != nil {
			return err
		}
		for _, n := range connections {
			measured, err := measure(ctx, peers, tokens, w.Name, n, rounds, length)
			if err != nil {
				return err
			}
			results = append(results, measured...)
		}
	}
	stopPeers(peers)
	steps, err := inProcess(ctx, maker, stepRounds, stepTokens)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(struct {
			Servers []result       `json:"servers"`
			Audit   []*auditResult `json:"audit"`
			Steps   []step         `json:"steps"`
		}{results, audited, steps})
	}
	if err := print(results); err != nil {
		return err
	}
	if err := printAudit(audited); err != nil {
		return err
	}
	return printSteps(steps)
}

// result is one peer under one workload; ratios are to Assay in the same rounds.
type result struct {
	Workload    string  `json:"workload"`
	Connections int     `json:"connections"`
	Peer        string  `json:"peer"`
	Requests    float64 `json:"requests_per_second"` // median of the rounds
	CPU         float64 `json:"cpu_us_per_request"`  // median of the rounds
	// Ratio is how many times as many requests a second Assay answers: median, least and largest of the rounds.
	Ratio   float64 `json:"ratio"`
	Least   float64 `json:"least"`
	Largest float64 `json:"largest"`
	// CPURatio is how many times as much CPU time a request the peer takes.
	CPURatio float64 `json:"cpu_ratio"`
}

// warmUp shows every token to every peer.
func warmUp(ctx context.Context, peers []*peer, tokens []string) error {
	for _, p := range peers {
		for goal := p.next.Load() + int64(len(tokens)); p.next.Load() < goal; {
			if _, _, err := p.drive(ctx, tokens, 16, time.Second); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

func measure(ctx context.Context, peers []*peer, tokens []string, name string, connections, rounds int, length time.Duration) ([]result, error) {
	rates := make(map[string][]float64)
	costs := make(map[string][]float64)
	for range rounds {
		for _, p := range peers {
			rate, cpu, err := p.drive(ctx, tokens, connections, length)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			rates[p.name] = append(rates[p.name], rate)
			costs[p.name] = append(costs[p.name], cpu)
		}
	}
	var results []result
	ours := peers[0].name
	for _, p := range peers {
		ratios := make([]float64, rounds)
		cpu := make([]float64, rounds)
		for i := range rounds {
			ratios[i] = rates[ours][i] / rates[p.name][i]
			cpu[i] = costs[p.name][i] / costs[ours][i]
		}
		results = append(results, result{
			Workload: name, Connections: connections, Peer: p.name,
			Requests: median(rates[p.name]), CPU: median(costs[p.name]),
			Ratio: median(ratios), Least: slices.Min(ratios), Largest: slices.Max(ratios), CPURatio: median(cpu),
		})
	}
	return results, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func print(results []result) error {
	fmt.Printf("%d cores, %s; requests/s and CPU are for orientation, the ratios are what is measured\n", runtime.NumCPU(), runtime.Version())
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "workload\tconnections\tserver\trequests/s\tCPU µs/request\tassay is faster by\tspread\tCPU by")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%d\t%s\t%.0f\t%.1f\t%.2f×\t%.2f–%.2f\t%.2f×\n",
			r.Workload, r.Connections, r.Peer, r.Requests, r.CPU, r.Ratio, r.Least, r.Largest, r.CPURatio)
	}
	return table.Flush()
}
