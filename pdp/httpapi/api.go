package httpapi

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gorilla/mux"
)

// door says who may pass.
type door int

const (
	public   door = iota // everybody
	openable             // known callers; everybody where Config.Open
	closed               // known callers
)

// route is one resource and method. It is the http.Handler that mux dispatches to.
type route struct {
	api          *API
	method, path string
	door         door
	// places holds those in flight that this route takes one of; nil: it takes none. late: it takes it once it has the
	// body, so that a body which does not come costs nobody a place.
	places chan struct{}
	late   bool
	// longest is the largest body, where that is less than Config.MaxBody; 0: it is not.
	longest int64
	// anyHost: it does not look at Host.
	anyHost bool
	// media is the type of its body; empty: application/json.
	media string
	// refusal writes a problem in the shape of the standard that the route follows; nil: RFC 9457.
	refusal func(*exchange, *problem)
	serve   func(*exchange) error
	metrics routeMetrics
}

// API is the http.Handler of the whole program.
type API struct {
	c          Config
	router     *mux.Router
	routes     []*route
	allowed    map[string]string // path -> methods, for Allow
	unmatched  *route
	grants     map[string]*Grant
	everything Grant
	hosts      map[string]bool
	anyHost    bool

	places   chan struct{} // one element for each decision or order in flight
	aside    chan struct{} // the same for what must be seen during overload too
	watching chan struct{} // the same for those who wait for changes
	telling  chan struct{} // the same for events, which anybody may deliver
	waiting  atomic.Int64
	buffered atomic.Int64
	draining atomic.Bool
	pool     sync.Pool      // of *exchange
	promiser promiser       // the Decider, where it is one
	held     sync.WaitGroup // answers

	idPrefix string
	idCount  atomic.Uint64
	metrics  *metrics
	failures *failures
	keySet   atomic.Pointer[taggedKeySet]
}

// New makes the API.
func New(c Config) (*API, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	a := &API{
		c: c, router: mux.NewRouter(), allowed: make(map[string]string),
		grants: make(map[string]*Grant, len(c.Grants)), hosts: make(map[string]bool, len(c.Hosts)),
		everything: Grant{Audiences: []string{Any}, Purposes: []string{Any}},
		places:     make(chan struct{}, c.MaxInFlight),
		aside:      make(chan struct{}, asideInFlight),
		watching:   make(chan struct{}, watchingInFlight),
		telling:    make(chan struct{}, eventsInFlight),
		failures:   newFailures(c.Log, c.Now),
	}
	a.promiser, _ = c.Decider.(promiser)
	a.pool.New = func() any { return &exchange{api: a} }
	for i := range c.Grants {
		a.grants[c.Grants[i].Caller] = &c.Grants[i]
	}
	for _, host := range c.Hosts {
		a.anyHost = a.anyHost || host == Any
		a.hosts[strings.ToLower(strings.Trim(host, "[]"))] = true
	}
	var prefix [8]byte
	if _, err := io.ReadFull(c.Random, prefix[:]); err != nil {
		return nil, fmt.Errorf("httpapi: reading randomness: %w", err)
	}
	a.idPrefix = hex.EncodeToString(prefix[:]) + "-"
	if a.metrics, err = newMetrics(a); err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	a.mount()
	if err := a.mountIssuers(); err != nil {
		return nil, err
	}
	return a, nil
}

// mount lists every route. POST /decide stands first: mux tries them in order.
func (a *API) mount() {
	a.add(route{method: "POST", path: "/decide", door: openable, places: a.places, serve: (*exchange).decide})
	a.add(route{method: "POST", path: "/decide/batch", door: openable, places: a.places, serve: (*exchange).decideBatch})
	if a.c.Issuer != nil {
		a.add(route{method: "POST", path: "/tokens", door: closed, places: a.places, serve: (*exchange).issue})
	}
	a.add(route{method: "GET", path: "/.well-known/jwks.json", door: public, serve: (*exchange).jwks})
	a.add(route{method: "GET", path: "/livez", door: public, anyHost: true, serve: (*exchange).live})
	a.add(route{method: "GET", path: "/readyz", door: public, anyHost: true, serve: (*exchange).ready})
	a.add(route{method: "GET", path: "/metrics", door: openable, places: a.aside, serve: (*exchange).exposition})
	a.add(route{method: "GET", path: "/openapi.json", door: openable, places: a.aside, serve: (*exchange).openapi})
	a.mountRevocations()
	a.unmatched = &route{api: a, path: "", serve: (*exchange).unrouted, metrics: a.metrics.route("")}
}

func (a *API) add(r route) {
	r.api, r.metrics = a, a.metrics.route(r.path)
	methods := []string{r.method}
	if r.method == http.MethodGet {
		methods = append(methods, http.MethodHead)
	}
	own := methods
	if others := a.allowed[r.path]; others != "" {
		methods = append([]string{others}, methods...)
	}
	a.allowed[r.path] = strings.Join(methods, ", ")
	a.routes = append(a.routes, &r)
	a.router.Handle(r.path, &r).Methods(own...)
}

// ServeHTTP finds the route and lets it serve. It asks mux to match and dispatches itself: mux's own
// ServeHTTP would copy the request twice to hand on variables that no route here has, and would answer an
// unclean path with a redirect, which turns a POST into a GET.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var match mux.RouteMatch
	if a.router.Match(r, &match) && match.MatchErr == nil && match.Handler != nil {
		match.Handler.ServeHTTP(w, r)
		return
	}
	a.unmatched.ServeHTTP(w, r)
}

// Drain makes /readyz fail and asks clients to leave their connections, while requests are still served.
func (a *API) Drain() { a.draining.Store(true) }

// unrouted answers for what is no route.
func (x *exchange) unrouted() error {
	path := x.r.URL.Path
	if key, below := strings.CutPrefix(path, revocationsPath+"/"); below && key != "" && !strings.Contains(key, "/") {
		path = revocationPath // the one resource whose path varies
	}
	if methods, ok := x.api.allowed[path]; ok {
		return problemf(methodNotAllowed, "this resource has %s", methods).with("Allow", methods)
	}
	return problemf(notFound, "no such resource; /openapi.json lists them")
}

// addressed checks the Host that the request names (RFC 9110 section 7.4): a page in a browser that had
// its own name resolved to this server's address must not reach it.
func (a *API) addressed(r *http.Request) error {
	if a.anyHost || a.hosts[r.Host] {
		return nil
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if a.hosts[host] {
		return nil
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if address, _, err := net.SplitHostPort(local.String()); err == nil && address == host {
			return nil
		}
	}
	return problemf(misdirected, "this server is not known by that Host; its configuration lists the names it has")
}

// DefaultHosts gives Config.Hosts for a listen address ("host:port") and the public names configured beside it.
func DefaultHosts(listen string, public ...string) []string {
	hosts := append([]string{"localhost", "127.0.0.1", "::1"}, public...)
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
