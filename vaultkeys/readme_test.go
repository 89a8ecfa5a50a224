package vaultkeys

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// What README.md says in figures is what the code computes.
func TestREADME(t *testing.T) {
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(content)
	p := Periods{}.WithDefaults()
	for name, value := range map[string]time.Duration{
		"`rotate_every`": p.RotateEvery, "`publish_ahead`": p.PublishAhead, "`max_token_lifetime`": p.MaxTokenLifetime, "`leeway`": p.Leeway,
		"JWKS max-age (`jwks_max_age`)": p.JWKSMaxAge, "keyring poll (`poll`)": p.Poll, "clock skew (`clock_skew`)": p.ClockSkew,
	} {
		contains(t, readme, fmt.Sprintf("\n| %s | %s |", name, text(value)))
	}
	contains(t, readme, fmt.Sprintf("`max_stale` (%s)", text(DefaultMaxStale)))
	contains(t, readme, fmt.Sprintf("With the defaults %s ≥ %s + %s + %s = %s.", text(p.PublishAhead), text(p.JWKSMaxAge), text(p.Poll), text(p.ClockSkew),
		text(p.JWKSMaxAge+p.Poll+p.ClockSkew)))
	short := p
	short.PublishAhead = time.Minute
	contains(t, readme, "\n"+short.Validate().Error()+"\n")

	for _, keyType := range KeyTypes() {
		contains(t, readme, fmt.Sprintf("\n| `%s` | %s |\n", keyType, strings.Join(Algorithms(keyType), ", ")))
	}

	created := []time.Duration{0, 0, p.RotateEvery}
	for _, now := range []time.Duration{0, 720 * time.Hour, 721 * time.Hour, 721*time.Hour + time.Minute, 1440 * time.Hour} {
		r := Record{Name: "access", Type: "ecdsa-p256"}
		for i, at := range created {
			if at <= now {
				r.Versions = append(r.Versions, Version{Number: i + 1, Created: epoch.Add(at)})
			}
		}
		row := "\n| " + strings.TrimSuffix(text(now), "s")
		states := States(r, p, epoch.Add(now))
		for i := range created {
			row += " |"
			if i < len(states) {
				row += " " + string(states[i].State)
			}
		}
		row += " |\n"
		contains(t, readme, row)
	}
}

func contains(t *testing.T, readme, want string) {
	t.Helper()
	if !strings.Contains(readme, want) {
		t.Errorf("README.md does not say %q", want)
	}
}

// The alerts that the page shows are the file's, which test/alerts tries.
func TestReadmeShowsTheAlerts(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```yaml\n"+string(alerts)+"```\n") {
		t.Error("README.md does not have alerts.yml as it is: copy it there")
	}
}
