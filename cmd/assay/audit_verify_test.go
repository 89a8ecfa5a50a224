package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// signedLog is a log of a few decisions, signed with a key of its own.
type signedLog struct {
	*testing.T
	folder, dir, keys string
	signer            note.Signer
	answers           []string // with receipts, as callers got them
}

const logOrigin = "assay.test/log"

func (s *signedLog) SignNote(_ context.Context, text string) ([]byte, error) {
	return note.Sign(&note.Note{Text: text}, s.signer)
}

func newSignedLog(t *testing.T) *signedLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, logOrigin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	s := &signedLog{T: t, folder: folder, dir: filepath.Join(folder, "audit"), keys: filepath.Join(folder, "keys"), signer: signer}
	s.put("keys", vkey+"\n")
	return s
}

func (s *signedLog) put(name, content string) string {
	s.Helper()
	path := filepath.Join(s.folder, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

// write appends decisions and has them all under a checkpoint.
func (s *signedLog) write(decisions int) {
	s.Helper()
	l, err := ledger.Open(s.Context(), ledger.Config{Dir: s.dir, Origin: logOrigin, Signer: s})
	if err != nil {
		s.Fatal(err)
	}
	for range decisions {
		n := l.Size()
		record := fmt.Sprintf(`{"decision_id":"decision-%d","timestamp":%q,"path":"assay/decision","custom":{"assay":{"kind":"decision"}}}`, n, time.Now().UTC().Format(time.RFC3339Nano))
		index, leaf, _, err := l.Append(s.Context(), time.Now(), []byte(record))
		if err != nil {
			s.Fatal(err)
		}
		s.answers = append(s.answers, fmt.Sprintf(`{"allow":true,"receipt":{"log":%q,"index":%d,"leaf_hash":%q}}`, logOrigin, index, base64.StdEncoding.EncodeToString(leaf[:])))
	}
	// Run makes a last checkpoint when it ends, of the tree as it is: it grows just after Append has returned.
	ended, end := context.WithCancel(s.Context())
	end()
	for l.Health().CheckpointSize < l.Size() {
		if err := l.Run(ended); err != nil {
			s.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		s.Fatal(err)
	}
}

func (s *signedLog) checkpoint() string {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "checkpoint"))
	if err != nil {
		s.Fatal(err)
	}
	return string(text)
}

// assay runs the program.
func (s *signedLog) assay(want int, args ...string) string {
	s.Helper()
	var out, errs bytes.Buffer
	code := run(s.Context(), args, env{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now, getenv: func(string) string { return "" }})
	if code != want {
		s.Fatalf("assay %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, out.String(), errs.String())
	}
	return out.String() + errs.String()
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func TestAuditVerify(t *testing.T) {
	s := newSignedLog(t)
	s.write(5)
	outside := s.put("outside", s.checkpoint())
	s.write(5)
	receipts := s.put("answers", strings.Join(append(s.answers, `{"allow":false}`), "\n"))
	sound := s.assay(0, "audit", "verify", "--dir", s.dir, "--key", s.keys, "--checkpoint", outside, "--receipt", receipts)
	has(t, sound, "10 records read of "+logOrigin, "2 checkpoints agree; the largest covers 10", "1 checkpoint kept outside agrees; the largest covers 5 records", "10 receipts agree", "sound: nothing was found",
		"proved up to record 4 by what was kept outside; behind it the end may have been cut off", "but for the 10 receipts that agree")
	has(t, s.assay(0, "audit", "verify", "--dir", s.dir, "--key", s.keys, "--checkpoint", outside, "-o", "json"), `"anchored":5`, "proved up to record 4")
	has(t, s.assay(0, "audit", "verify", "--dir", s.dir, "--key", s.keys), "sound: nothing was found",
		"not proved: that the log was not written anew as a whole", "not proved: that what was answered was recorded")
	unproven := s.assay(0, "audit", "verify", "--dir", s.dir, "--no-signatures")
	has(t, unproven, "signatures were not checked", "not proved: that the log is as its keeper signed it")
	if strings.Contains(unproven, "sound") {
		t.Errorf("without signatures it says\n%s", unproven)
	}
	has(t, s.assay(0, "audit", "verify", "--dir", s.dir, "--no-signatures", "-o", "json"), `"sound":false`, `"not_proved":["that the log is as its keeper signed it`)
	saved := s.put("saved", s.checkpoint()+"\n") // as an editor leaves it
	has(t, s.assay(0, "audit", "verify", "--dir", s.dir, "--key", s.keys, "--checkpoint", saved), "1 checkpoint kept outside agrees; the largest covers 10 records",
		"no records behind: the log is proved up to record 9")
	s.assay(0, "audit", "prove", "3", "--dir", s.dir, "--checkpoint", saved)
	saved = s.put("saved", s.checkpoint()+"\n\n")
	for _, args := range [][]string{{"verify", "--key", s.keys}, {"prove", "3"}} {
		has(t, s.assay(2, append([]string{"audit", args[0], "--dir", s.dir, "--checkpoint", saved}, args[1:]...)...), saved, "an empty line stands at its end")
	}
	for _, most := range []string{"-1", "0"} {
		has(t, s.assay(2, "audit", "verify", "--dir", s.dir, "--key", s.keys, "--max-findings", most), "--max-findings "+most+": give a number of findings")
	}
	has(t, s.assay(2, "audit", "prove", "--dir", s.dir, "--from", s.keys), s.keys, "it is no signed checkpoint")
	other := newSignedLog(t)
	other.write(3)
	elsewhere := s.put("elsewhere", other.checkpoint())
	has(t, s.assay(1, "audit", "verify", "--dir", s.dir, "--key", s.keys, "--checkpoint", elsewhere), "the checkpoint kept outside, "+elsewhere)
	has(t, s.assay(2, "audit", "verify", "--dir", s.dir), "whose signatures count?")
	has(t, s.assay(2, "audit", "verify", "--key", s.keys), "which audit log?")
	has(t, s.assay(2, "audit", "verify", "--dir", s.dir+"x", "--key", s.keys), "there is no audit log to read")
	has(t, s.assay(2, "audit", "verify", "--dir", s.folder, "--key", s.keys), "there is no audit log to read", "holds none of a log's files")
	unsigned := s.put("unsigned.yaml", "audit: {dir: ./audit}\n")
	has(t, s.assay(2, "audit", "verify", "--config", unsigned), "has no audit.checkpoint.key", "--no-signatures")
	has(t, s.assay(2, "audit", "verify", "--dir", s.dir, "--key", s.keys, "--receipt", s.put("none", "{}")), "has no receipt")

	segment := filepath.Join(s.dir, "segments", "00000000000000000000.log")
	text, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segment, bytes.Replace(text, []byte("decision-7"), []byte("decision-x"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	has(t, s.assay(1, "audit", "verify", "--dir", s.dir, "--key", s.keys),
		"altered: record 7, segments/00000000000000000000.log line 8, decision decision-x: the record was altered", "1 finding")
	var report struct {
		Sound    bool
		Findings []ledger.Finding
	}
	if err := json.Unmarshal([]byte(s.assay(1, "audit", "verify", "--dir", s.dir, "--key", s.keys, "--receipt", receipts, "-o", "json")), &report); err != nil {
		t.Fatal(err)
	}
	if report.Sound || len(report.Findings) != 2 || report.Findings[0].Kind != ledger.BadReceipt || report.Findings[1].Kind != ledger.Altered || report.Findings[1].Index != 7 {
		t.Errorf("%+v", report)
	}
}

// A --key that holds no key is not one that was left out, and what a wrong file holds is nobody's to read.
func TestKeyFilesThatHoldNoKey(t *testing.T) {
	s := newSignedLog(t)
	s.write(3)
	config := s.put("assay.yaml", "audit: {dir: ./audit, origin: "+logOrigin+", checkpoint: {key: notary}}\n"+
		"vault: {address: 'http://127.0.0.1:1', roles: {decider: {auth: {token_file: t}}, notary: {auth: {token_file: n}}}, keys: {notary: {use: checkpoint}}}\n")
	vkey, err := os.ReadFile(s.keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, key, says string }{
		{"empty", s.put("empty", ""), " holds no key"},
		{"blank", s.put("blank", " \n\n"), " holds no key"},
		{"the null device", os.DevNull, " holds no key"},
		{"a secret", s.put("secret", "SuperSecretLine\nand more\n"), ": line 1 is no key such as"},
		{"a key and a secret", s.put("mixed", string(vkey)+"SuperSecretLine\n"), ": line 2 is no key such as"},
		{"a folder", s.folder, " is a folder: name a file with keys"},
		{"no file", filepath.Join(s.folder, "none"), ": neither a file with keys nor a key such as"},
		{"a part of a key", logOrigin + "+00000000", ": neither a file with keys nor a key such as"},
		{"a file below a file", filepath.Join(s.keys, "none"), "no file that can be read: not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "report.html")
			for _, args := range [][]string{
				{"verify", "--config", config},
				{"verify", "--dir", s.dir, "--key", s.keys}, // beside one that is good
				{"report", "--framework", "soc2", "--from", "2026", "--dir", s.dir, "--out", out},
				{"prove", "--check", s.keys, "--config", config},
			} {
				said := s.assay(2, append(append([]string{"audit"}, args...), "--key", c.key)...)
				has(t, said, "--key "+c.key, c.says)
				if strings.Contains(said, "SuperSecret") {
					t.Errorf("what the file holds is told: %s", said)
				}
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("a report was written")
			}
		})
	}
	has(t, s.assay(2, "audit", "verify", "--config", config, "--key", ""), "--key is empty")
	for _, secret := range []string{"PRIVATE+KEY+SuperSecret", "SuperSecret\nLine"} {
		if said := s.assay(2, "audit", "verify", "--dir", s.dir, "--key", secret); strings.Contains(said, "SuperSecret") || !strings.Contains(said, "--key: ") {
			t.Errorf("%q: %s", secret, said)
		}
	}
	s.assay(0, "audit", "verify", "--dir", s.dir, "--key", strings.TrimSpace(string(vkey)))
	has(t, s.assay(2, "audit", "keys"), "--config")
}

func TestAuditProve(t *testing.T) {
	s := newSignedLog(t)
	s.write(5)
	outside := s.put("outside", s.checkpoint())
	s.write(300)
	proof := filepath.Join(s.folder, "decision.tlog-proof")
	has(t, s.assay(0, "audit", "prove", "decision-200", "--dir", s.dir, "--to", proof), "record 200 is in the log")
	held := s.assay(0, "audit", "prove", "--check", proof, "--key", s.keys)
	has(t, held, "it holds: this is record 200 of "+logOrigin+", under a checkpoint over 305 records", `"decision_id":"decision-200"`)
	byIndex := s.assay(0, "audit", "prove", "200", "--dir", s.dir)
	written, err := os.ReadFile(proof)
	if err != nil || byIndex != string(written) {
		t.Errorf("by its index it is another proof: %v", err)
	}
	bare := filepath.Join(s.folder, "bare")
	s.assay(0, "audit", "prove", "--receipt", s.put("receipt", s.answers[200]), "--dir", s.dir, "--without-record", "--to", bare)
	has(t, s.assay(2, "audit", "prove", "--check", bare, "--key", s.keys), "give it with --record")
	record := held[strings.Index(held, "{"):]
	s.assay(0, "audit", "prove", "--check", bare, "--key", s.keys, "--record", s.put("record", record))
	has(t, s.assay(1, "audit", "prove", "--check", bare, "--key", s.keys, "--record", s.put("record", "{}")), "it does not hold: the record is not record 200")

	growth := filepath.Join(s.folder, "growth")
	has(t, s.assay(0, "audit", "prove", "--from", outside, "--dir", s.dir, "--to", growth), "goes on from the first 5 records")
	has(t, s.assay(0, "audit", "prove", "--check", growth, "--from", outside, "--key", s.keys), "only grew, from 5 to 305 records")
	other := newSignedLog(t)
	has(t, s.assay(1, "audit", "prove", "--check", growth, "--from", outside, "--key", other.keys), "no signature is by a key that counts")
	has(t, s.assay(1, "audit", "prove", "--check", proof, "--key", other.keys, "-o", "json"), `"holds":false`)

	has(t, s.assay(2, "audit", "prove", "--dir", s.dir), "what is to be proven?")
	has(t, s.assay(2, "audit", "prove", "200", "--receipt", s.put("receipt", s.answers[200]), "--dir", s.dir), "take it or 200 out")
	has(t, s.assay(2, "audit", "prove", "nobody", "--dir", s.dir), `no record in the log is of the decision "nobody"`)
	none := s.assay(2, "audit", "prove", "400", "--dir", s.dir)
	has(t, none, "record 400: the log has no such record: it has 305, counted from 0")
	if strings.Contains(none, "checkpoint") {
		t.Errorf("of a record that there is not it says %s", none)
	}
	has(t, s.assay(2, "audit", "prove", "200", "--dir", s.dir, "--checkpoint", outside), "no checkpoint covers it")
	forged := strings.Replace(s.answers[200], `"leaf_hash":"`, `"leaf_hash":"AAAA`, 1)
	forged = forged[:strings.Index(forged, "AAAA")+4] + s.answers[201][strings.Index(s.answers[201], `"leaf_hash":"`)+17:]
	has(t, s.assay(2, "audit", "prove", "--receipt", s.put("receipt", forged), "--dir", s.dir), "is not what the receipt is for")
	has(t, s.assay(2, "audit", "prove", "--check", outside, "--key", s.keys), "is neither a proof")
}
