package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

// clerk is a Decider whose records are on disk when a test says so.
type clerk struct {
	judge
	decision func(r *pdp.Request) *pdp.Decision // default allowed
	early    bool                               // the witness hears before Promise returns
	promised chan pdp.Witness
	stands   func() bool // default as ever
	confirm  func(error) (*pdp.Decision, error)
}

func newClerk() *clerk { return &clerk{promised: make(chan pdp.Witness, 1000)} }

func (c *clerk) Promise(_ context.Context, r *pdp.Request, w pdp.Witness) (pdp.Promised, error) {
	d := allowed(r)
	if c.decision != nil {
		d = c.decision(r)
	}
	d.Receipt = &pdp.Receipt{Log: "log", Index: 7}
	if c.early {
		w.Recorded(7, nil)
	}
	c.promised <- w
	return pdp.Promised{Decision: d, Waits: true}, nil
}

func (c *clerk) Stands(p *pdp.Promised, index int64) bool {
	if c.stands != nil {
		return c.stands()
	}
	return p.Decision.Receipt.Index == index
}

func (c *clerk) Confirm(_ context.Context, p *pdp.Promised, index int64, err error) (*pdp.Decision, error) {
	if c.confirm != nil {
		return c.confirm(err)
	}
	if err != nil {
		return nil, errors.Join(pdp.ErrUnavailable, err)
	}
	p.Decision.Receipt.Index = index
	return p.Decision, nil
}

// hearsNothing waits a little.
func (c caller) hearsNothing(t *testing.T) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.answers.Peek(1); err == nil {
		t.Fatal("it is answered before its record is on disk")
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func TestAnAnswerIsHeldUntilItsRecordIsOnDisk(t *testing.T) {
	k := newClerk()
	address := serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider = k })})
	c := call(t, address)
	counted := func(want string) {
		t.Helper()
		var body string
		for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(time.Millisecond) { // it goes out before it is counted
			if body = do(t, http.DefaultClient, http.MethodGet, "http://"+address+"/metrics", "").body; strings.Contains(body, want+"\n") {
				return
			}
		}
		t.Errorf("no %s in %s", want, body)
	}
	for range 3 {
		c.send(t, asking("a"))
		w := <-k.promised
		c.hearsNothing(t)
		counted("assay_http_in_flight 1")
		w.Recorded(7, nil)
		if a := c.reads(t).wantsStatus(t, 200); !strings.Contains(a.body, `"index":7`) {
			t.Errorf("no receipt: %s", a.body)
		}
		counted("assay_http_in_flight 0")
	}
	c.send(t, asking("a"))
	(<-k.promised).Recorded(-1, errors.New("full"))
	c.wants(t, 503)
	counted("assay_http_in_flight 0")
	counted(`assay_decisions_total{allow="true"} 3`)
	counted(`assay_http_requests_total{code="2xx",route="/decide"} 3`)
	counted(`assay_http_requests_total{code="5xx",route="/decide"} 1`)
}

func TestTheWitnessMayHearAtOnce(t *testing.T) {
	k := newClerk()
	k.early = true
	c := call(t, serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider = k })}))
	for range 100 {
		c.send(t, asking("a"))
		c.wants(t, 200)
	}
}

// What takes the place of an answer is framed as it was, and the connection goes on.
func TestAnAnswerThatDoesNotStand(t *testing.T) {
	broken := errors.New("no space left")
	for name, tc := range map[string]struct {
		change func(*clerk)
		index  int64
		err    error
		wants  func(t *testing.T, a answer)
	}{
		"its record is not on disk": {err: broken, index: -1, wants: func(t *testing.T, a answer) {
			a.wants(t, 503, "unavailable")
			if a.Header.Get("Retry-After") == "" || strings.Contains(a.body, "space") {
				t.Errorf("%v %s", a.Header, a.body)
			}
		}},
		"its record is elsewhere": {index: 9, wants: func(t *testing.T, a answer) {
			if a.wantsStatus(t, 200); !strings.Contains(a.body, `"index":9`) {
				t.Error(a.body)
			}
		}},
		"it is revoked meanwhile": {index: 7, change: func(k *clerk) {
			k.stands = func() bool { return false }
			k.confirm = func(error) (*pdp.Decision, error) { return denied("revocation.token"), nil }
		}, wants: func(t *testing.T, a answer) {
			if a.wantsStatus(t, 200); !strings.Contains(a.body, "revocation.token") || strings.Contains(a.body, `"allow":true`) {
				t.Error(a.body)
			}
		}},
		"looking again panics": {index: 7, change: func(k *clerk) {
			k.stands = func() bool { panic("stands") }
			k.confirm = func(error) (*pdp.Decision, error) { panic("confirm") }
		}, wants: func(t *testing.T, a answer) { a.wants(t, 500, "internal") }},
		"it could not be written": {index: 7, change: func(k *clerk) {
			k.decision = func(r *pdp.Request) *pdp.Decision {
				d := allowed(r)
				d.Claims = map[string]any{"f": func() {}}
				return d
			}
		}, wants: func(t *testing.T, a answer) { a.wants(t, 500, "internal") }},
	} {
		t.Run(name, func(t *testing.T) {
			k := newClerk()
			if tc.change != nil {
				tc.change(k)
			}
			c := call(t, serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider = k })}))
			for range 2 {
				c.send(t, strings.Replace(asking("a"), "\r\n", "\r\nX-Request-Id: r-1\r\n", 1))
				w := <-k.promised
				c.hearsNothing(t)
				w.Recorded(tc.index, tc.err)
				a := c.reads(t)
				tc.wants(t, a)
				if a.Header.Get("X-Request-Id") != "r-1" || a.Close || a.Header.Get("Date") == "" || !json.Valid([]byte(a.body)) {
					t.Errorf("%v %s", a.Header, a.body)
				}
			}
			c.send(t, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			c.wants(t, 200)
		})
	}
}

// Requests that come in one piece are answered in their order, each after its own record, whoever hears first.
func TestAnAnswerBehindOneThatIsHeld(t *testing.T) {
	k := newClerk()
	k.fn = func(_ context.Context, r *pdp.Request) (*pdp.Decision, error) {
		return denied("second." + r.Token), nil
	}
	c := call(t, serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider = k })}))
	for _, second := range []string{asking("b"), "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "nonsense\r\n\r\n"} {
		c.send(t, asking("a")+second)
		w := <-k.promised
		c.hearsNothing(t)
		w.Recorded(7, nil)
		if a := c.reads(t).wantsStatus(t, 200); !strings.Contains(a.body, `"sub":"a"`) {
			t.Errorf("first %s", a.body)
		}
		a := c.reads(t)
		if strings.HasPrefix(second, "POST") && !strings.Contains(a.body, "second.b") || strings.HasPrefix(second, "nonsense") != (a.StatusCode == 400) {
			t.Errorf("then %d %s", a.StatusCode, a.body)
		}
	}
	if _, err := c.answers.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is open after nonsense: %v", err)
	}
}

// Who has said that it was his last request is answered, too, and then the connection ends; also by another answer.
func TestTheLastAnswerOfAConnection(t *testing.T) {
	k := newClerk()
	address := serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider = k })})
	for name, text := range map[string]string{
		"Connection: close": strings.Replace(asking("a"), "\r\n", "\r\nConnection: close\r\n", 1),
		"HTTP/1.0":          strings.Replace(asking("a"), "HTTP/1.1", "HTTP/1.0", 1),
		"half closed":       asking("a"),
	} {
		for status, failure := range map[int]error{200: nil, 503: errors.New("full")} {
			c := call(t, address)
			c.send(t, text)
			if name == "half closed" {
				if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil { //nolint:forcetypeassert // it dialed tcp
					t.Fatal(err)
				}
			}
			w := <-k.promised
			c.hearsNothing(t)
			w.Recorded(7, failure)
			a := c.reads(t).wantsStatus(t, status)
			if want := strings.Contains(text, "HTTP/1.0"); want != (a.ProtoMinor == 0) {
				t.Errorf("%s: %s", name, a.Proto)
			}
			if _, err := c.answers.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// An answer of megabytes goes out whole, and who does not take it keeps nobody waiting: the witness does not block.
func TestACallerWhoDoesNotTakeAHeldAnswer(t *testing.T) {
	long := strings.Repeat("a", 16<<20)
	k := newClerk()
	k.decision = func(r *pdp.Request) *pdp.Decision {
		d := allowed(r)
		d.Claims = map[string]any{"long": long}
		return d
	}
	c := call(t, serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider = k })}))
	c.send(t, asking("a")+asking("b"))
	heard := make(chan struct{})
	w := <-k.promised
	go func() {
		w.Recorded(7, nil)
		close(heard)
	}()
	select {
	case <-heard:
	case <-time.After(20 * time.Second):
		t.Fatal("the witness waits for the caller")
	}
	time.Sleep(50 * time.Millisecond)
	if a := c.reads(t); len(a.body) < len(long) {
		t.Errorf("%d bytes", len(a.body))
	}
	select {
	case w := <-k.promised: // the second may be held, or waited for
		w.Recorded(7, nil)
	case <-time.After(100 * time.Millisecond):
	}
	c.wants(t, 200)
}

// A server that is told to stop answers what it holds.
func TestHeldAnswersAreGivenAtTheEnd(t *testing.T) {
	k := newClerk()
	address, stop, served := run(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider = k })})
	callers := make([]caller, 20)
	witnesses := make([]pdp.Witness, len(callers))
	for i := range callers {
		callers[i] = call(t, address)
		callers[i].send(t, asking("a"))
		witnesses[i] = <-k.promised
	}
	stop()
	select {
	case err := <-served:
		t.Fatalf("it ended before: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	for _, w := range witnesses {
		w.Recorded(7, nil)
	}
	for _, c := range callers {
		c.wants(t, 200)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// Hundreds of callers at once, whose records come to this and that, each get their own answers.
func TestHeldAnswersOfMany(t *testing.T) {
	const callers, each = 60, 50
	k := newClerk()
	address := serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider, c.MaxInFlight = k, 2*callers })})
	var told atomic.Int64
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		go func() {
			for {
				select {
				case w := <-k.promised:
					switch told.Add(1) % 5 {
					case 0:
						w.Recorded(-1, errors.New("full"))
					case 1:
						w.Recorded(8, nil)
					default:
						w.Recorded(7, nil)
					}
				case <-stop:
					return
				}
			}
		}()
	}
	var all sync.WaitGroup
	for i := range callers {
		c := call(t, address)
		token := strings.Repeat("x", i+1)
		all.Go(func() {
			for range each {
				if _, err := io.WriteString(c, asking(token)); err != nil {
					t.Error(err)
					return
				}
				response, err := http.ReadResponse(c.answers, nil)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(response.Body)
				if err != nil || response.StatusCode == 200 && !strings.Contains(string(body), `"sub":"`+token+`"`) ||
					response.StatusCode != 200 && response.StatusCode != 503 {
					t.Errorf("%v: %d %s", err, response.StatusCode, body)
				}
				_ = response.Body.Close()
			}
		})
	}
	all.Wait()
}

// faulty is the handler of a log, of which each line panics.
type faulty struct{ slog.Handler }

func (faulty) Enabled(context.Context, slog.Level) bool  { return true }
func (faulty) Handle(context.Context, slog.Record) error { panic("s3cret") }

// Whoever lets answers go has others to tell: what panics there ends neither them nor the process.
func TestAPanicWhileAnAnswerIsLetGo(t *testing.T) {
	broken := slog.New(faulty{})
	for name, tc := range map[string]struct {
		access, log *slog.Logger
		confirm     func(error) (*pdp.Decision, error)
		failure     error
		answered    bool
	}{
		"the access log":                  {access: broken, answered: true},
		"the access log, of a failure":    {access: broken, failure: errors.New("full"), answered: true},
		"the access log and the log":      {access: broken, log: broken, answered: true},
		"the log that a panic is for":     {log: broken, failure: errors.New("full"), confirm: func(error) (*pdp.Decision, error) { panic("confirm") }},
		"looking again, and all the logs": {access: broken, log: broken, failure: errors.New("full"), confirm: func(error) (*pdp.Decision, error) { panic("confirm") }},
	} {
		t.Run(name, func(t *testing.T) {
			k := newClerk()
			k.confirm = tc.confirm
			address, stop, served := run(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) {
				c.Decider, c.AccessLog = k, tc.access
				if tc.log != nil {
					c.Log = tc.log
				}
			})})
			for range 2 {
				c := call(t, address)
				c.send(t, asking("a"))
				(<-k.promised).Recorded(7, tc.failure)
				_, err := c.answers.Peek(1)
				if answered := err == nil; answered != tc.answered {
					t.Errorf("answered %t: %v", answered, err)
				}
				_ = c.Close()
			}
			stop()
			if err := <-served; err != nil { // an answer that counts as held is waited for
				t.Error(err)
			}
		})
	}
}
