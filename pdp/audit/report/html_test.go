package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
)

// hostile are names that somebody may put into a token or a request.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `' onmouseover='alert(1)`, "`${alert(1)}`", `</title></style><script>x</script>`,
	`$(touch /tmp/owned)`, `a'; rm -rf ~; '`, "line\nbreak", "\x1b[2J\x1b]0;owned\x07", "right\u202eleft", "{{.}}{{template \"x\"}}", `]]>`, "\xff\xfe not UTF-8", "--kind=change", `\'`, "<!--", "",
	"http://evil.example/?a=1&b=2", strings.Repeat("long", 500),
}

// attack is a month in which every text that others choose is hostile.
func attack() *month {
	m := example()
	for i, text := range hostile {
		row := index.Row{Kind: index.KindDecision, Status: "verified", Issuer: text, Client: text, Audience: text, Caller: text, Alg: text, Key: text, Revision: text, Lifetime: 60}
		row.Reasons = []index.ReasonRef{finding("lifetime.expired"+text, "deny", "SOC2:CC6.1 SOC2:"+text), finding("x."+text, "waived", "SOC2:CC6.1")}
		m.add(row)
		m.add(index.Row{Kind: index.KindDecision, Status: text, Reasons: row.Reasons[:1]})
		for _, kind := range []pdp.ChangeKind{pdp.KeyRotated, pdp.BundleActivated, pdp.AccessRefused, pdp.LogDropped, pdp.ConfigActivated} {
			m.change(kind, text, audit.Change{Target: text, Reason: text, Ticket: text, Details: map[string]any{text: text, "policy_revision": text, "list": []any{text, true}}})
		}
		m.change(pdp.RevocationAdded, text, audit.Change{Target: text, Reason: text, About: &audit.About{Kind: text, Issuer: text, Value: text}})
		m.change(pdp.RevocationAdded, text, audit.Change{Target: text + fmt.Sprint(i), Reason: text, About: &audit.About{Kind: "client", Issuer: text, Value: text}})
		deny := row
		deny.Reasons = []index.ReasonRef{finding("revocation.client", "deny", "SOC2:CC7.4")}
		m.add(deny)
	}
	return m
}

// elements are all that the page may be made of: none that runs, fetches or embeds anything.
var elements = strings.Fields(`html head meta title style body a svg defs pattern line header p h1 h2 h3 dl dt dd nav ol ul li main section span b table thead tbody tr th td caption
	div article figure figcaption rect circle path text polyline i br code sup footer`)

var attributes = strings.Fields(`lang charset http-equiv content name class href id width height aria-hidden focusable patternunits patterntransform x y x1 y1 x2 y2 viewbox role
	aria-label aria-labelledby scope colspan points cx cy r d title`)

// parsePage checks that the page has only what it may have, and answers its text.
func parsePage(t *testing.T, page []byte) string {
	t.Helper()
	var text strings.Builder
	ids, links, open := map[string]bool{}, []string{}, []string{}
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := z.Next()
		token := z.Token()
		switch kind {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("not closed: %v", open)
			}
			for _, link := range links {
				if id, inside := strings.CutPrefix(link, "#"); !inside || !ids[id] {
					t.Errorf("a link leads to %q, which is not on the page", link)
				}
			}
			return text.String()
		case html.TextToken:
			text.WriteString(token.Data)
		case html.CommentToken:
			t.Errorf("a comment: %q", token.Data)
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> closes %v", token.Data, open)
			}
			open = open[:len(open)-1]
		case html.StartTagToken, html.SelfClosingTagToken:
			if !slices.Contains(elements, token.Data) {
				t.Errorf("element %s", token.Data)
			}
			if kind == html.StartTagToken && token.Data != "meta" && token.Data != "br" {
				open = append(open, token.Data)
			}
			for _, a := range token.Attr {
				switch {
				case !slices.Contains(attributes, strings.ToLower(a.Key)):
					t.Errorf("attribute %s of %s", a.Key, token.Data)
				case a.Key == "id" && ids[a.Val]:
					t.Errorf("two elements have the id %s", a.Val)
				case a.Key == "id":
					ids[a.Val] = true
				case a.Key == "href":
					links = append(links, a.Val)
				}
			}
		}
	}
}

func TestHostileNamesAreText(t *testing.T) {
	m := attack()
	r := build(t, m, "soc2")
	page := pageOf(t, r)
	text := parsePage(t, page)
	for _, want := range []string{`<script>alert(1)</script>`, `$(touch /tmp/owned)`, `{{.}}{{template "x"}}`, `"><img src=x onerror=alert(1)>`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not shown as text", want)
		}
	}
	for _, f := range r.Issuers {
		if f.Issuer == "" {
			continue // cannot be asked for
		}
		if q := parseCommand(t, f.Judged.Query); q.Issuer != f.Issuer {
			t.Errorf("%s asks for the issuer %q", f.Judged.Query, q.Issuer)
		}
	}
}

func TestPageIsWellFormedAndFetchesNothing(t *testing.T) {
	for _, framework := range []string{"soc2", "iso27001", "gdpr"} {
		t.Run(framework, func(t *testing.T) {
			page := pageOf(t, build(t, example(), framework))
			parsePage(t, page)
			for _, never := range []string{"@import", "url(http", "url(//", "src=", "<link", "expression("} {
				if bytes.Contains(page, []byte(never)) {
					t.Errorf("the page has %s", never)
				}
			}
		})
	}
}

// The policy in the page allows the style sheet that is in it, and nothing else.
func TestContentSecurityPolicyAllowsTheStyleAlone(t *testing.T) {
	page := string(pageOf(t, build(t, example(), "soc2")))
	_, rest, _ := strings.Cut(page, "<style>")
	style, _, found := strings.Cut(rest, "</style>")
	if !found {
		t.Fatal("no style sheet")
	}
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
	z := html.NewTokenizer(strings.NewReader(page))
	for z.Next() != html.ErrorToken {
		at := z.Token()
		if at.Data != "meta" || !slices.Contains(at.Attr, html.Attribute{Key: "http-equiv", Val: "Content-Security-Policy"}) {
			continue
		}
		if !slices.Contains(at.Attr, html.Attribute{Key: "content", Val: want}) {
			t.Fatalf("%v, want %s", at.Attr, want)
		}
		return
	}
	t.Fatal("the page has no policy")
}

func TestEmptyPeriodSaysSo(t *testing.T) {
	m := &month{}
	c := m.config(t, "gdpr")
	c.Keys, c.Waivers, c.WaiversFrom, c.Command = nil, nil, "", nil
	r, err := Build(t.Context(), c, m.all(), Integrity{State: NotVerified, How: "not asked for"})
	if err != nil {
		t.Fatal(err)
	}
	text := parsePage(t, pageOf(t, r))
	for _, want := range []string{"The log holds no decision of this period.", "not verified in this run", "which waivers are open is not told", "No token was verified."} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
