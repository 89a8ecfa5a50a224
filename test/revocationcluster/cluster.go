// Package revocationcluster runs a real cluster of three NATS servers on loopback, each a process that can be killed,
// and stands between it and every replica with TCP proxies that can be cut or slowed.
//
// Servers do not tell clients of each other (no_advertise), so that a replica reaches the cluster through its own
// proxies and in no other way.
package revocationcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/assaypdp/assay/test/loopback"
)

// Nodes is the size of the cluster.
const Nodes = 3

// Cluster is three NATS servers.
type Cluster struct {
	program, dir string
	nodes        [Nodes]*node
	ports        []*loopback.Port // all nodes', kept while a node is down
}

type node struct {
	config          string
	client, monitor string // host:port
	process         *exec.Cmd
}

// portsOfNode are those for clients, for the monitor and for the other nodes.
const portsOfNode = 3

// Build builds the server into a folder.
func Build(dir string) (program string, err error) {
	program = filepath.Join(dir, "natsnode")
	output, err := exec.Command("go", "build", "-o", program, "github.com/assaypdp/assay/test/revocationcluster/natsnode").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the NATS server: %w\n%s", err, output)
	}
	return program, nil
}

const nodeConfig = `server_name: n%[1]d
listen: "%[2]s"
http: "%[3]s"
logfile: "%[4]s/n%[1]d.log"
jetstream: {store_dir: "%[4]s/n%[1]d", max_file_store: 256MB, sync_interval: always}
cluster: {name: test, listen: "%[5]s", no_advertise: true, routes: [%[6]s]}
`

// Start starts the servers on ports of their own, with their state in dir.
func Start(program, dir string) (*Cluster, error) {
	c := &Cluster{program: program, dir: dir}
	for range portsOfNode * Nodes {
		port, err := loopback.Reserve()
		if err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		c.ports = append(c.ports, port)
	}
	address := func(node, port int) string { return c.ports[portsOfNode*node+port].Address }
	routes := make([]string, Nodes)
	for i := range Nodes {
		routes[i] = fmt.Sprintf("%q", "nats://"+address(i, 2))
	}
	for i := range c.nodes {
		n := &node{config: filepath.Join(dir, fmt.Sprintf("n%d.conf", i)), client: address(i, 0), monitor: address(i, 1)}
		text := fmt.Sprintf(nodeConfig, i, n.client, n.monitor, dir, address(i, 2), strings.Join(routes, ", "))
		if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		c.nodes[i] = n
		if err := c.Return(i); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	return c, nil
}

// Kill ends a server with SIGKILL, as a crash would.
func (c *Cluster) Kill(i int) error {
	n := c.nodes[i]
	if n.process == nil {
		return nil
	}
	err := n.process.Process.Kill()
	_ = n.process.Wait() // it was killed, which is what Wait says
	n.process = nil
	return err
}

// Return starts a server again on what it left.
func (c *Cluster) Return(i int) error {
	n := c.nodes[i]
	if n.process != nil {
		return nil
	}
	process := exec.Command(c.program, n.config)
	process.Stderr = os.Stderr
	if err := process.Start(); err != nil {
		return err
	}
	n.process = process
	return nil
}

// Stop kills what still runs, and gives the ports back.
func (c *Cluster) Stop() error {
	var problems []error
	for i, n := range c.nodes {
		if n != nil {
			problems = append(problems, c.Kill(i))
		}
	}
	for _, port := range c.ports {
		problems = append(problems, port.Release())
	}
	return errors.Join(problems...)
}

// Address of a server's client port.
func (c *Cluster) Address(i int) string { return c.nodes[i].client }

// Leader asks the servers which of them leads the stream; -1 where none says that it does.
func (c *Cluster) Leader(stream string) int {
	client := http.Client{Timeout: 5 * time.Second}
	for i, n := range c.nodes {
		if n.process == nil {
			continue
		}
		leader, err := askLeader(&client, n.monitor, stream)
		if err == nil && leader == fmt.Sprintf("n%d", i) {
			return i
		}
	}
	return -1
}

func askLeader(client *http.Client, monitor, stream string) (leader string, err error) {
	response, err := client.Get("http://" + monitor + "/jsz?streams=true&accounts=true")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	var state struct {
		Accounts []struct {
			Streams []struct {
				Name    string `json:"name"`
				Cluster struct {
					Leader string `json:"leader"`
				} `json:"cluster"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := json.NewDecoder(response.Body).Decode(&state); err != nil {
		return "", err
	}
	for _, account := range state.Accounts {
		for _, s := range account.Streams {
			if s.Name == stream {
				return s.Cluster.Leader, nil
			}
		}
	}
	return "", nil
}
