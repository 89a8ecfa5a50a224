package revocationcluster

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Link is one replica's way to every server of the cluster.
type Link struct {
	listeners []net.Listener
	cut       atomic.Bool
	pace      atomic.Int64 // ns to wait before each piece that goes to the replica

	mu     sync.Mutex // guards open and closed
	open   map[net.Conn]bool
	closed bool
	serve  sync.WaitGroup
}

// NewLink listens for a replica.
func NewLink(c *Cluster) (*Link, error) {
	l := &Link{open: make(map[net.Conn]bool)}
	for i := range Nodes {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			l.Close()
			return nil, err
		}
		l.listeners = append(l.listeners, listener)
		l.serve.Go(func() { l.accept(listener, c.Address(i)) })
	}
	return l, nil
}

// URL is what the replica connects to.
func (l *Link) URL() string {
	urls := make([]string, len(l.listeners))
	for i, listener := range l.listeners {
		urls[i] = "nats://" + listener.Addr().String()
	}
	return strings.Join(urls, ",")
}

// Cut partitions the replica from the cluster, or mends it: nothing passes and no connection ends, as when packets
// are dropped.
func (l *Link) Cut(cut bool) {
	l.cut.Store(cut)
	if cut {
		return
	}
	// What was held back cannot go on where it was: those connections end.
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.open {
		_ = conn.Close() // both ends of it notice
	}
}

// Slow makes every piece of what comes from the cluster wait; zero ends it.
func (l *Link) Slow(d time.Duration) { l.pace.Store(int64(d)) }

// Close ends everything.
func (l *Link) Close() {
	for _, listener := range l.listeners {
		_ = listener.Close() // nobody waits for its error
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.Cut(false)
	l.serve.Wait()
}

func (l *Link) accept(listener net.Listener, to string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.DialTimeout("tcp", to, time.Second)
		if err != nil || !l.track(conn, server) {
			_ = conn.Close() // it is refused, as by a server that is down
			if server != nil {
				_ = server.Close() // nothing was said yet
			}
			continue
		}
		l.serve.Go(func() { l.pipe(server, conn, false) })
		l.serve.Go(func() { l.pipe(conn, server, true) })
	}
}

func (l *Link) track(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		l.open[c] = true
	}
	return !l.closed
}

// pipe copies until either end is closed. While cut it reads on and drops what it read.
func (l *Link) pipe(to, from net.Conn, paced bool) {
	defer func() {
		l.mu.Lock()
		delete(l.open, to)
		delete(l.open, from)
		l.mu.Unlock()
		_ = from.Close() // either may be closed already
		_ = to.Close()
	}()
	piece := make([]byte, 16<<10)
	for {
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		if l.cut.Load() {
			continue
		}
		if wait := time.Duration(l.pace.Load()); paced && wait > 0 {
			time.Sleep(wait)
		}
		if _, err := to.Write(piece[:n]); err != nil {
			return
		}
	}
}
