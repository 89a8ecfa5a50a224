// Package attacks sends hostile tokens and requests to the real program over HTTP.
//
// Every case is named, says which standard or CVE it comes from, and states what it must get: for a token
// the status of its examination and exactly the codes that deny, for a request the HTTP status and the
// problem's type. None may be allowed, none may be answered with a 5xx, and nothing that a token refers to
// may ever be contacted: a listener whose address the tokens hold fails the run if anybody connects.
//
// Beside them stand controls: good tokens, also in the unusual forms that are legal, which must be
// allowed. Without them a server that denies everything would pass.
package attacks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/test/program"
)

// attack is one hostile token.
type attack struct {
	name string
	// from is the standard's section or the CVE that the case comes from.
	from  string
	token string
	// make makes the token when it is sent, where it is about the time left until some moment; else nil.
	make func() string
	// request is the decide request's "request"; default {"audience":"orders"}.
	request string
	// want is exactly the codes that deny. The token's status follows from the first.
	want []string
}

// wants spells attack.want.
func wants(codes ...string) []string { return codes }

// statusOf is the examination's status that goes with a denying code.
func statusOf(code string) string {
	switch code {
	case "signature.malformed":
		return "malformed"
	case "signature.unsupported", "header.critical_unknown":
		return "unsupported"
	case "signature.undecryptable":
		return "undecryptable"
	case "signature.issuer_untrusted":
		return "issuer_untrusted"
	case "algorithm.none", "algorithm.not_allowed", "algorithm.key_mismatch":
		return "algorithm_refused"
	case "signature.key_unknown":
		return "key_unknown"
	case "signature.invalid":
		return "signature_invalid"
	}
	return "verified"
}

// server is the program under attack.
type server struct {
	url, address string
	client       *http.Client
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (s *server) post(t *testing.T, path string, body []byte, fields ...string) answer {
	t.Helper()
	return s.send(t, http.MethodPost, path, body, append([]string{"Content-Type: application/json"}, fields...)...)
}

func (s *server) send(t *testing.T, method, path string, body []byte, fields ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, read}
}

// decision is as much of a decision as is checked here.
type decision struct {
	Allow   bool `json:"allow"`
	Reasons []struct {
		Code        string `json:"code"`
		Message     string `json:"message"`
		Enforcement string `json:"enforcement"`
	} `json:"reasons"`
	Token struct {
		Status string `json:"status"`
	} `json:"token"`
	Claims map[string]any `json:"claims"`
}

func (d *decision) denying() []string {
	var codes []string
	for _, r := range d.Reasons {
		if r.Enforcement == "deny" {
			codes = append(codes, r.Code)
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// decide asks about a token.
func (s *server) decide(t *testing.T, token, request string) decision {
	t.Helper()
	if request == "" {
		request = `{"audience":"orders"}`
	}
	quoted, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	a := s.post(t, "/decide", fmt.Appendf(nil, `{"token":%s,"request":%s}`, quoted, request))
	if a.status != http.StatusOK {
		t.Fatalf("status %d; a bad token is a decision: %s", a.status, a.body)
	}
	var d decision
	if err := json.Unmarshal(a.body, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestHostileTokens(t *testing.T) {
	l := newLab(t)
	s := start(t, l)
	families := []struct {
		name  string
		cases []attack
	}{
		{"algorithm", l.algorithms()}, {"confusion", l.confusions()}, {"key reference", l.keyReferences()}, {"kid", l.keyIDs()},
		{"signature", l.signatures()}, {"header JSON", l.headerJSON()}, {"claims JSON", l.claimsJSON()}, {"critical", l.criticals()},
		{"date", l.dates()}, {"base64", l.base64()}, {"serialization", l.serializations()}, {"issuer", l.issuers()},
		{"kind", l.kinds()}, {"claims", l.claims()}, {"audience", l.audiences()}, {"encrypted", l.encrypted()},
	}
	seen := map[string]bool{}
	total := 0
	for _, family := range families {
		t.Run(family.name, func(t *testing.T) {
			for _, c := range family.cases {
				total++
				if c.from == "" || len(c.want) == 0 || seen[family.name+c.name] {
					t.Errorf("%s: a case needs a name of its own, an origin and an expectation", c.name)
				}
				seen[family.name+c.name] = true
				t.Run(c.name, func(t *testing.T) {
					token := c.token
					if c.make != nil {
						token = c.make()
					}
					d := s.decide(t, token, c.request)
					if d.Allow {
						t.Fatalf("ALLOWED; %s", c.from)
					}
					if len(d.Claims) > 0 {
						t.Error("a deny released claims")
					}
					want := slices.Sorted(slices.Values(c.want))
					if got := d.denying(); !slices.Equal(got, want) || d.Token.Status != statusOf(c.want[0]) {
						t.Errorf("status %s for %v, want %s for %v (%s)\n%+v", d.Token.Status, got, statusOf(c.want[0]), want, c.from, d.Reasons)
					}
				})
			}
		})
	}
	t.Logf("%d hostile tokens", total)
	if total < 600 {
		t.Errorf("%d hostile tokens: some family was lost", total)
	}
	t.Run("controls", func(t *testing.T) { l.controls(t, s) })
}

// TestTheTruthIsStillTold asks about a good token, then a hostile one that differs in one byte, then the
// good one again: neither may be judged by what was remembered of the other.
func TestTheTruthIsStillTold(t *testing.T) {
	l := newLab(t)
	s := start(t, l)
	good := l.token(nil, nil)
	for range 3 {
		if d := s.decide(t, good, ""); !d.Allow {
			t.Fatalf("a good token is denied: %+v", d.Reasons)
		}
		header, payload, signature := cut(good)
		for _, token := range []string{
			header + "." + payload + "." + flip(signature), header + "." + flip(payload) + "." + signature,
			flip(header) + "." + payload + "." + signature, good + "=", good + "\n", good + "." + signature,
		} {
			if d := s.decide(t, token, ""); d.Allow {
				t.Fatalf("allowed beside the good token: %.20s…", token)
			}
		}
	}
}

// start builds the program once, runs it with the lab's issuers, and stops it when the test ends. Its log
// may hold no token and no panic.
func start(t *testing.T, l *lab) *server {
	t.Helper()
	at := program.Serve(t, assay, []string{"--config", l.configure(t)}, l.secret)
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	t.Cleanup(transport.CloseIdleConnections)
	return &server{url: "http://" + at, address: at, client: &http.Client{Transport: transport}}
}

// assay is the path of the built program; TestMain sets it before any test runs.
var assay string

func TestMain(m *testing.M) {
	os.Exit(program.Run(m, func(path string) { assay = path }))
}

// trap listens where hostile tokens point to, and fails the test if anybody comes.
func trap(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			select {
			case <-called:
			default:
				close(called)
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-stopped
		select {
		case <-called:
			t.Error("the server followed a reference in a token")
		default:
		}
	})
	return l.Addr().String()
}
