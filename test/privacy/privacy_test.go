package privacy

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
)

const settings = `listen: 127.0.0.1:0
log_level: debug
issuers:
  - issuer: https://idp.example
    keys: {file: jwks.json}
%s
revocation:
  jetstream: {dir: revocation}
  max_age: 1h
limits: {request_timeout: 1m}
audit:
  dir: audit
  origin: assay.example/audit
  segment_bytes: 1048576
%s
callers:
  audience: assay
  grants:
    - issuer: https://idp.example
      subject: desk
      decide: {audiences: ["*"], purposes: ["*"]}
      issue:
        - {token_types: ["*"], issuers: ["*"], audiences: ["*"], subjects: ["*"], clients: ["*"], scopes: ["*"], claims: ["*"]}
      revoke: {read: true, write: ["*"], lift: ["*"], issuers: ["*"]}
events:
  audience: https://assay.example/events
  transmitters:
    - issuer: https://idp.example
`

const vaultIssuer = `  - issuer: https://assay.example
    keys: {vault: access}
    encrypt_to: {payroll: payroll}
`

const vaultSettings = `  checkpoint: {key: log, every: 1s}
  pseudonyms: {key: people}
vault:
  address: %s
  roles:
    decider: {auth: {approle: {role_id_file: decider.role_id, secret_id_file: decider.secret_id}}}
    issuer: {auth: {approle: {role_id_file: issuer.role_id, secret_id_file: issuer.secret_id}}}
    notary: {auth: {approle: {role_id_file: notary.role_id, secret_id_file: notary.secret_id}}}
  keys:
    access: {}
    payroll: {use: enc, type: rsa-2048}
    log: {use: checkpoint}
    people: {use: pseudonym}
`

// masks are bundles that decide what is written.
var masks = map[string]map[string]string{
	"undefined":       {"assay/audit/mask.rego": "package assay.audit\n\nmask := {} if input.token.kind == \"nothing\"\n", ".manifest": `{"roots": ["assay/audit"]}`},
	"conflicting":     {"assay/audit/mask.rego": "package assay.audit\n\nmask := {\"clear\": [[\"email\"]]}\n\nmask := {\"clear\": [[\"sub\"]]} if input.token\n", ".manifest": `{"roots": ["assay/audit"]}`},
	"wicked log mask": {"system/log/mask.rego": "package system.log\n\ndrop := true\n\nmask contains {\"op\": \"upsert\", \"path\": \"/input/token/id\", \"value\": input.input.token.claims}\n\nmask contains object.get(input, [\"input\", \"token\", \"claims\", \"email\"], \"/input/request/path\")\n", ".manifest": `{"roots": ["system/log"]}`},
	"a rule that tells": {"assay/rules/tells.rego": "package assay.rules.tells\n\nfindings contains {\n" +
		"\t\"rule\": {\"custom\": {\"code\": sprintf(\"tells.%s\", [told]), \"severity\": \"low\", \"mode\": \"warn\", \"controls\": [sprintf(\"TOLD:%s\", [told])]}},\n" +
		"\t\"message\": sprintf(\"this is %s\", [told]),\n\t\"details\": {told: 1, \"who\": told, \"also\": [told, input.token.claims.sub]},\n" +
		"} if {\n\ttold := replace(input.token.claims.sub, \"@\", \"-at-\")\n}\n", ".manifest": `{"roots": ["assay/rules/tells"]}`},
	"everything is clear": {"assay/audit/mask.rego": "package assay.audit\n\ndefault claims := {}\n\nclaims := input.token.claims\n\n" +
		"mask := {\"clear\": {[name] | some name, _ in claims}, \"clear_request\": [[\"action\"], [\"resource\"], [\"path\"], [\"client_ip\"], [\"context\"]]}\n", ".manifest": `{"roots": ["assay/audit"]}`},
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run serves under a mask, sends rounds of traffic and gives everything that was written, and what was sent.
func run(t *testing.T, mask string, vault bool, rounds int) (*server, map[string][]byte) {
	t.Helper()
	issuer := newSigner(t)
	files := map[string]string{"jwks.json": string(issuer.keySet())}
	issuers, further := "", ""
	if vault {
		issuers, further = vaultIssuer, fmt.Sprintf(vaultSettings, vaulttest.Shared(t).Address)
	}
	if masks[mask] != nil {
		further += "policy: {timeout: 20s, bundle: " + folder(t, masks[mask]) + "}\n"
	} else {
		further += "policy: {timeout: 20s}\n"
	}
	files["assay.yaml"] = fmt.Sprintf(settings, issuers, further)
	dir := folder(t, files)
	if vault {
		setup := exec.CommandContext(context.Background(), assay, "keys", "setup", "--config", filepath.Join(dir, "assay.yaml"))
		setup.Env = append(os.Environ(), "VAULT_TOKEN="+vaulttest.Shared(t).RootToken)
		if output, err := setup.CombinedOutput(); err != nil {
			t.Fatalf("keys setup: %v\n%s", err, output)
		}
	}
	given := make(map[string]bool)
	for name := range files {
		given[name] = true
	}
	s := start(t, dir)
	now := time.Now().Unix()
	desk := issuer.sign(object{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}, object{
		"iss": "https://idp.example", "sub": "desk", "aud": "assay", "client_id": "desk", "iat": now, "exp": now + 3000, "jti": "desk",
		"scope": "decide tokens revocations:read revocations:write revocations:lift revocations",
	})
	s.sent.add("the caller's token", desk)
	send := &traffic{server: s, issuer: issuer, desk: desk, vault: vault}
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		status, answer := s.post("/decide", object{"token": desk, "request": object{"audience": "assay"}}, desk, nil)
		if status == 200 && bytes.Contains(answer, []byte(`"allow":true`)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a good token: %d %s", status, answer)
		}
	}
	for range rounds {
		send.round()
	}
	s.stop(desk)
	return s, s.everything(given)
}

// leaks searches for marks and tokens.
func leaks(s *server, written map[string][]byte) []string {
	var found []string
	personal, ordered := forms(mark), forms(orderedMark)
	for _, file := range slices.Sorted(maps.Keys(written)) {
		text := written[file]
		wanted := []map[string][]byte{personal, ordered}
		if strings.HasPrefix(file, "revocation/") {
			// The stream holds what it is to find in tokens, as it stands there; and nothing else of anybody.
			wanted = wanted[:1]
		}
		for _, marks := range wanted {
			for _, form := range slices.Sorted(maps.Keys(marks)) {
				if at := bytes.Index(text, marks[form]); at >= 0 {
					found = append(found, fmt.Sprintf("%s, %s: %s", file, form, around(text, at)))
				}
			}
		}
		if what, at := s.sent.find(text); at >= 0 {
			found = append(found, fmt.Sprintf("%s: %s: %s", file, what, around(text, at)))
		}
	}
	return found
}

func records(written map[string][]byte) []byte {
	var all []byte
	for _, file := range slices.Sorted(maps.Keys(written)) {
		if strings.HasPrefix(file, "audit/segments/") {
			all = append(all, written[file]...)
		}
	}
	return all
}

func TestNothingPersonalIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		vault  bool
		rounds int
		// holds must stand in the records, so that the test is about what its name says.
		holds []string
	}{
		"the library's mask": {rounds: 12, holds: []string{`"mask":"applied"`, `"kind":"revocation.added"`, `"kind":"access.refused"`, `"status":"verified"`, `"status":"malformed"`, `"scope":"read"`, `"pseudonyms":"unavailable"`}},
		"with pseudonyms":    {vault: true, rounds: 3, holds: []string{`"mask":"applied"`, `"sub":"p:`, `"kind":"token.issued"`, `"kind":"nested"`, `"kind":"jwe"`}},
		"undefined":          {rounds: 1, holds: []string{`"mask":"failed"`}},
		"conflicting":        {rounds: 1, holds: []string{`"mask":"failed"`}},
		"wicked log mask":    {rounds: 1, holds: []string{`"mask":"failed"`, `"mask":"applied"`}},
		"a rule that tells":  {rounds: 1, holds: []string{`"mask":"applied"`, `"code":"computed.code"`, `"allow":true`}},
	} {
		t.Run(name, func(t *testing.T) {
			s, written := run(t, name, c.vault, c.rounds)
			for _, leak := range leaks(s, written) {
				t.Errorf("found in %s", leak)
			}
			log := records(written)
			for _, text := range c.holds {
				if !bytes.Contains(log, []byte(text)) {
					t.Errorf("no record has %s", text)
				}
			}
			if c.rounds > 10 && !slices.ContainsFunc(slices.Collect(maps.Keys(written)), func(f string) bool { return strings.HasSuffix(f, ".zst") }) {
				t.Error("no segment was sealed")
			}
			if t.Failed() {
				return
			}
			size := 0
			for _, text := range written {
				size += len(text)
			}
			t.Logf("%d records, %d files, %d bytes searched for %d forms of the marks and %d pieces of tokens",
				bytes.Count(log, []byte(`"decision_id"`)), len(written), size, len(forms(mark))+len(forms(orderedMark)), len(s.sent.pieces))
		})
	}
}

// TestEverythingClearIsFound: under a mask that clears everything the same search finds people, although never a token.
func TestEverythingClearIsFound(t *testing.T) {
	s, written := run(t, "everything is clear", false, 1)
	found := strings.Join(leaks(s, written), "\n")
	for _, place := range []string{"audit/segments/", "plain"} {
		if !strings.Contains(found, place) {
			t.Errorf("what was cleared is not found: %s", found)
		}
	}
	for _, place := range []string{mark + ".sub.1", mark + ".email.1", mark + "-street-1", mark + ".context.1"} {
		if !bytes.Contains(records(written), []byte(place)) {
			t.Errorf("%s is cleared and not there", place)
		}
	}
	for _, line := range strings.Split(found, "\n") {
		if !strings.HasPrefix(line, "audit/segments/") {
			t.Errorf("found elsewhere than in the log: %s", line)
		}
		if strings.Contains(line, ", part ") {
			t.Errorf("a token is in the log: %s", line)
		}
	}
}
