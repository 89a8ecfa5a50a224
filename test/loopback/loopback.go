// Package loopback reserves ports of 127.0.0.1 for servers that a test stops and starts again, or has to name before
// they run. A port that was free a moment ago may be another program's now; one that is reserved is not given to
// anybody who asks for any port, and no connection leaves from it.
package loopback

// Port is a reserved TCP port of 127.0.0.1. Nobody listens there until somebody who names it does: connections to it
// are refused.
type Port struct {
	// Address is its host:port.
	Address string

	hold func() error
}

// Release gives the port back.
func (p *Port) Release() error { return p.hold() }
