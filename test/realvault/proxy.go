package realvault

import (
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/assaypdp/assay/test/loopback"
)

// Fault is what happens to requests on their way through a Proxy. The zero value is no fault.
type Fault struct {
	// Path limits the fault to requests whose path (after /v1/) starts so; empty: all.
	Path string
	// Latency is added before the request is passed on.
	Latency time.Duration
	// BlackHole takes the request and never answers.
	BlackHole bool
	// Status answers with this code (5xx, 429, 403, …) instead of passing the request on.
	Status int
}

// Proxy stands in front of a server and injects faults. It is safe for concurrent use.
type Proxy struct {
	// Address is its URL; the same after Refuse and Accept.
	Address string

	target *url.URL
	next   http.Handler
	port   *loopback.Port // kept for Accept

	mu     sync.Mutex // guards what follows
	fault  Fault
	paths  []string // of every request, in order of arrival
	server *http.Server
	lifted chan struct{} // closed when a black hole ends
}

// NewProxy starts a proxy in front of the server at an address, without a fault.
func NewProxy(address string) (*Proxy, error) {
	target, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, lifted: make(chan struct{})}
	p.next = &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	if p.port, err = loopback.Reserve(); err != nil {
		return nil, err
	}
	return p, p.listen(p.port.Address)
}

func (p *Proxy) listen(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: time.Minute}
	p.mu.Lock()
	p.server, p.Address = server, "http://"+listener.Addr().String()
	p.mu.Unlock()
	go func() { _ = server.Serve(listener) }() // ends with Close
	return nil
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	p.mu.Lock()
	p.paths = append(p.paths, path)
	fault, lifted := p.fault, p.lifted
	p.mu.Unlock()
	if !strings.HasPrefix(path, fault.Path) {
		fault = Fault{}
	}
	if fault.Latency > 0 {
		wait(r, time.After(fault.Latency))
	}
	if fault.BlackHole {
		select {
		case <-r.Context().Done():
		case <-lifted:
		}
		panic(http.ErrAbortHandler) // the connection breaks without an answer
	}
	if fault.Status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(fault.Status)
		_, _ = w.Write([]byte(`{"errors":["injected fault"]}`)) // the client may be gone
		return
	}
	p.next.ServeHTTP(w, r)
}

func wait(r *http.Request, until <-chan time.Time) {
	select {
	case <-r.Context().Done():
	case <-until:
	}
}

// Set injects a fault, in place of the one before; the zero Fault lifts it. Requests that a black hole
// swallowed break off.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.lifted)
	p.lifted = make(chan struct{})
}

// Refuse makes the address refuse connections and cuts off those that are open.
func (p *Proxy) Refuse() error {
	p.mu.Lock()
	server := p.server
	p.mu.Unlock()
	return server.Close()
}

// Accept takes connections again, on the same address, after Refuse.
func (p *Proxy) Accept() error { return p.listen(p.port.Address) }

// Count says how many requests came whose path (after /v1/) starts so.
func (p *Proxy) Count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, seen := range p.paths {
		if strings.HasPrefix(seen, path) {
			n++
		}
	}
	return n
}

// Close ends the proxy.
func (p *Proxy) Close() error {
	p.Set(Fault{})
	err := p.Refuse()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, p.port.Release())
}
