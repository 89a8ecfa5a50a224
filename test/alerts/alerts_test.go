// Package alerts holds the alert rules for keys, vaultkeys/alerts.yml, against Prometheus itself: they parse as
// 'promtool check rules' has them, and each is silent while all is well and speaks when what it is for has happened.
//
// It is a module of its own, so that Prometheus cannot move what Assay ships: cd test/alerts && go test ./...
package alerts

import (
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const file = "../../vaultkeys/alerts.yml"

func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	groups, problems := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, problem := range problems {
		t.Error(problem)
	}
	if groups == nil || t.Failed() {
		t.FailNow()
	}
	all := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			all[rule.Alert] = rule
		}
	}
	return all
}

// healthy and what each alert is for; a minute between values.
const healthy = `
  assay_key_rotation_overdue_seconds{key="access",instance="a"} 0x30
  assay_key_pending_versions{key="access",instance="a"} 1x30
  assay_key_findings{key="access",instance="a"} 0x30
  assay_key_custodian_failing{key="access",instance="a"} 0x30
  assay_jwks_age_seconds{instance="a"} 8x30
  assay_key_believed{key="access",instance="a"} 1x30
  assay_vault_request_seconds_count{operation="sign",outcome="ok",instance="a"} 0+600x30
  assay_vault_request_seconds_count{operation="sign",outcome="error",instance="a"} 0x30
  assay_vault_request_seconds_bucket{operation="sign",outcome="ok",instance="a",le="0.1"} 0+600x30
  assay_vault_request_seconds_bucket{operation="sign",outcome="ok",instance="a",le="1"} 0+600x30
  assay_vault_request_seconds_bucket{operation="sign",outcome="ok",instance="a",le="5"} 0+600x30
  assay_vault_request_seconds_bucket{operation="sign",outcome="ok",instance="a",le="+Inf"} 0+600x30
`

// change is what has become of one of the healthy series.
type change struct{ series, becomes string }

// amissBy is what each alert is for.
func amissBy() map[string]change {
	return map[string]change{
		"AssayKeyRotationOverdue": {`assay_key_rotation_overdue_seconds{key="access",instance="a"}`, "86401x30"},
		"AssayNoPendingKey":       {`assay_key_pending_versions{key="access",instance="a"}`, "0x30"},
		"AssayKeyFindings":        {`assay_key_findings{key="access",instance="a"}`, "1x30"},
		"AssayCustodianFailing":   {`assay_key_custodian_failing{key="access",instance="a"}`, "1x30"},
		"AssayJWKSOld":            {`assay_jwks_age_seconds{instance="a"}`, "601x30"},
		"AssayKeyNotBelieved":     {`assay_key_believed{key="access",instance="a"}`, "0x30"},
		"AssayVaultErrors":        {`assay_vault_request_seconds_count{operation="sign",outcome="error",instance="a"}`, "0+40x30"},
		"AssaySignerSlow":         {`assay_vault_request_seconds_bucket{operation="sign",outcome="ok",instance="a",le="1"}`, "0+590x30"},
	}
}

func TestAlerts(t *testing.T) {
	all := rules(t)
	for alert, c := range amissBy() {
		t.Run(alert, func(t *testing.T) {
			rule, ok := all[alert]
			if !ok {
				t.Fatalf("%s has no such alert", file)
			}
			line := regexp.MustCompile(regexp.QuoteMeta(c.series) + " .*")
			if !line.MatchString(healthy) {
				t.Fatal("the series is not among those of a healthy Assay")
			}
			amiss := line.ReplaceAllLiteralString(healthy, c.series+" "+c.becomes)
			if alert == "AssaySignerSlow" { // buckets are cumulative
				amiss = regexp.MustCompile(`(le="0.1"}) .*`).ReplaceAllString(amiss, "$1 0+590x30")
			}
			if n := results(t, healthy, rule.Expr); n != 0 {
				t.Errorf("while all is well %q has %d results", rule.Expr, n)
			}
			if n := results(t, amiss, rule.Expr); n != 1 {
				t.Errorf("when it has happened %q has %d results, want one", rule.Expr, n)
			}
		})
	}
}

// results counts what an expression gives after twenty minutes of these series.
func results(t *testing.T, series, expression string) int {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m"+series)
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, 10_000)
	query, err := engine.NewInstantQuery(t.Context(), storage, nil, expression, time.Unix(0, 0).Add(20*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	vector, err := query.Exec(t.Context()).Vector()
	if err != nil {
		t.Fatal(err)
	}
	return len(vector)
}

func TestEveryAlertIsTried(t *testing.T) {
	have, tried := slices.Sorted(maps.Keys(rules(t))), slices.Sorted(maps.Keys(amissBy()))
	if !slices.Equal(have, tried) {
		t.Errorf("there are %v, tried are %v", have, tried)
	}
}
