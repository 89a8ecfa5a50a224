package oidcprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"testing"
	"time"
)

// Job is something for a resource server to do that this project did not write: jose from npm.
type Job struct {
	// Do is "verify" or "seal".
	Do string `json:"do"`
	// Token is the compact token to verify, or to encrypt.
	Token string `json:"token"`

	// Issuer, for verify, is the issuer identifier; its keys are found by Standard, "openid" or "oauth".
	// Without Standard it is a LocalIssuer.
	Issuer   any    `json:"issuer,omitempty"`
	Standard string `json:"standard,omitempty"`
	// Audience is the "aud" that the token must hold.
	Audience string `json:"audience,omitempty"`
	// PrivateKey, for verify, is an RSA JWK with which the token is decrypted first.
	PrivateKey any `json:"privateKey,omitempty"`

	// KeySet, for seal, is the URL of a JWKS with one key for encryption.
	KeySet string `json:"keySet,omitempty"`
}

// LocalIssuer is one whose keys the resource server was given.
type LocalIssuer struct {
	Name string          `json:"name"`
	Keys json.RawMessage `json:"keys"`
}

// Result of a job.
type Result struct {
	// Error is why it failed, with jose's own code; empty where it did not.
	Error string `json:"error"`
	// Claims and Header are those of the token that was verified.
	Claims map[string]any `json:"claims"`
	Header map[string]any `json:"header"`
	// Token is the one that was encrypted.
	Token string `json:"token"`
}

// jobsTimeout bounds all jobs of one run.
const jobsTimeout = 3 * time.Minute

// Jose has the jobs done, one after the other, and answers their results in that order. It skips the test as
// Start does.
func Jose(t testing.TB, jobs ...Job) []Result {
	t.Helper()
	dir := installed(t)
	text, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), jobsTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "node", "resourceserver.mjs")
	command.Dir, command.Stdin = dir, bytes.NewReader(text)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, complaints.Bytes())
	}
	var results []Result
	if err := json.Unmarshal(output, &results); err != nil || len(results) != len(jobs) {
		t.Fatalf("%d results for %d jobs, %v: %s", len(results), len(jobs), err, output)
	}
	return results
}
