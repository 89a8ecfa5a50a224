package serve

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/custodian"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// Custodian looks after the keys of the configuration, with a login of its own.
type Custodian struct {
	*custodian.Custodian
	client *transit.Client
}

// KeyRules are what the life of a key of vault.keys follows from.
func KeyRules(c *config.Config, name string) custodian.Rules {
	return custodian.Rules{Periods: c.Periods(name), TrimAfter: c.Vault.Custodian.Trim()}
}

// NewCustodian makes the custodian of a configuration that gives its role.
func NewCustodian(c *config.Config, d Deps, changes pdp.ChangeRecorder, observe func(string, time.Duration, error)) (*Custodian, error) {
	client, err := NewClient(c, c.Vault.Roles.Custodian, d, observe)
	if err != nil {
		return nil, err
	}
	made := &Custodian{client: client}
	wired := custodian.Config{Vault: client, Changes: changes, Log: d.Log, Now: d.Now}
	for _, name := range c.TokenKeyNames() {
		wired.Keys = append(wired.Keys, custodian.Key{Name: name, Type: c.Vault.Keys[name].Type, Rules: KeyRules(c, name)})
	}
	made.Custodian, err = custodian.New(wired)
	return made, err
}

// Run looks after the keys until ctx ends, and gives the login back.
func (c *Custodian) Run(ctx context.Context) error {
	defer c.Close()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return c.client.Run(running) })
	group.Go(func() error { return c.Custodian.Run(running) })
	return group.Wait()
}

// Close gives the login back, for those who do not Run.
func (c *Custodian) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = c.client.Close(ctx) // else it expires by itself
}

// causes says what is amiss, in words for an operator.
func (c *Custodian) causes() []string {
	var causes []string
	for key, err := range c.Failing() {
		causes = append(causes, fmt.Sprintf("custodian: key %s is not looked after: %v", key, err))
	}
	slices.Sort(causes)
	return causes
}

// lookAfterKeys makes the custodian, where the configuration wants it here, and shows the keys as metrics.
func (a *App) lookAfterKeys(d Deps, m *metrics) (err error) {
	if a.config.Vault.Custodian.Enabled {
		if a.custodian, err = NewCustodian(a.config, d, a.changes, m.vaultCalled); err != nil {
			return err
		}
	}
	if a.vault == nil {
		return nil
	}
	return a.registry.Register(newKeyMetrics(a))
}

// keyMetrics shows the keys in Vault as they are when somebody asks. It keeps nothing.
type keyMetrics struct {
	keyring *vaultkeys.Keyring
	now     func() time.Time
	periods func(key string) vaultkeys.Periods
	// failing is the custodian's; nil where this process has none.
	failing func() map[string]error

	age, overdue, pending, read, believed, documentAge, unattended, weak *prometheus.Desc
}

func newKeyMetrics(a *App) *keyMetrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("assay_"+name, help, labels, nil)
	}
	k := &keyMetrics{
		keyring: a.vault.keyring, now: a.now, periods: a.config.Periods,
		age:         describe("key_age_seconds", "How long ago the version that signs was made.", "key"),
		overdue:     describe("key_rotation_overdue_seconds", "How long the version that signs should have had a successor; 0 while it need not.", "key"),
		pending:     describe("key_pending_versions", "Versions that are published and do not sign yet; 0 leaves nothing for a compromise.", "key"),
		read:        describe("key_read_age_seconds", "How long ago the key's record was last read from Vault.", "key"),
		believed:    describe("key_believed", "1 while the key verifies, 0 where its record was never read or not for max_stale.", "key"),
		weak:        describe("key_findings", "Findings about the key that 'assay keys list' prints.", "key"),
		documentAge: describe("jwks_age_seconds", "How old the oldest record is that the published key set was made from."),
		unattended:  describe("key_custodian_failing", "1 where the custodian's last round failed for the key.", "key"),
	}
	if a.custodian != nil {
		k.failing = a.custodian.Failing
	}
	return k
}

// Describe implements prometheus.Collector.
func (k *keyMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{k.age, k.overdue, k.pending, k.read, k.believed, k.weak, k.documentAge, k.unattended} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (k *keyMetrics) Collect(out chan<- prometheus.Metric) {
	now := k.now()
	var oldest time.Time
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, key := range k.keyring.Health() {
		gauge(k.believed, oneIf(key.Believed), key.Name)
		if key.ReadAt.IsZero() {
			continue
		}
		gauge(k.read, now.Sub(key.ReadAt).Seconds(), key.Name)
		if key.Believed && (oldest.IsZero() || key.ReadAt.Before(oldest)) {
			oldest = key.ReadAt
		}
		pending := 0
		for _, v := range key.Versions {
			switch v.State {
			case vaultkeys.Pending:
				pending++
			case vaultkeys.Active:
				gauge(k.age, now.Sub(v.Created).Seconds(), key.Name)
				gauge(k.overdue, overdue(v, k.periods(key.Name), now).Seconds(), key.Name)
			}
		}
		gauge(k.pending, float64(pending), key.Name)
		gauge(k.weak, float64(len(key.Warnings)), key.Name)
	}
	if !oldest.IsZero() {
		gauge(k.documentAge, now.Sub(oldest).Seconds())
	}
	if k.failing != nil {
		failing := k.failing()
		for _, key := range k.keyring.Health() {
			gauge(k.unattended, oneIf(failing[key.Name] != nil), key.Name)
		}
	}
}

// overdue is how long a signing version should have had a successor: one that began to sign at Since, or when it
// was made where that is not known, signs for rotate_every.
func overdue(v vaultkeys.VersionState, p vaultkeys.Periods, now time.Time) time.Duration {
	since := v.Since
	if since.IsZero() {
		since = v.Created
	}
	return max(0, now.Sub(since.Add(p.RotateEvery)))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// IssuersOf lists the issuers whose tokens a key of vault.keys signs, sorted.
func IssuersOf(c *config.Config, key string) []string {
	var issuers []string
	for i := range c.Issuers {
		if slices.Contains(c.Issuers[i].Keys.Vault, key) {
			issuers = append(issuers, c.Issuers[i].Issuer)
		}
	}
	slices.Sort(issuers)
	return issuers
}
