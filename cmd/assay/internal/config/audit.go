package config

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// Audit says where every decision and every change is written down; default nowhere. What may be written of a decision
// is policy: data.assay.audit.mask.
type Audit struct {
	// Dir is the log's folder. One server writes it; replicas have a log each.
	Dir string `yaml:"dir"`
	// Mode is durable, a decision is answered when its record is on disk for good, and not at all when it cannot be
	// written; or buffered, it is answered at once and up to buffer_bytes of records may be lost, which is counted.
	// Default durable.
	Mode string `yaml:"mode"`
	// Origin is the log's name in receipts and checkpoints, for good, such as assay.example/replica-1; default the first
	// of public_names, else localhost, with /audit behind. Replicas need an origin each.
	Origin string `yaml:"origin"`
	// Checkpoint says who signs what is in the log.
	Checkpoint AuditCheckpoint `yaml:"checkpoint"`
	// Pseudonyms says what identifiers are replaced with; default nothing: they are erased.
	Pseudonyms AuditPseudonyms `yaml:"pseudonyms"`
	// Retention is how long records are kept, at least; default for ever. Whole segments are deleted.
	Retention Duration `yaml:"retention"`
	// SegmentBytes and SegmentAge begin a new file of the log; default 67108864 and 24h.
	SegmentBytes int64    `yaml:"segment_bytes"`
	SegmentAge   Duration `yaml:"segment_age"`
	// BufferBytes bounds what waits in memory with mode: buffered; default 33554432.
	BufferBytes int64 `yaml:"buffer_bytes"`
	// Upload are the places outside that records are delivered to; default none.
	Upload []Upload `yaml:"upload"`
}

// AuditCheckpoint says how the log is signed.
type AuditCheckpoint struct {
	// Key is the key of vault.keys with use checkpoint that the role notary signs with; default none: then the records'
	// order is only as good as the disk.
	Key string `yaml:"key"`
	// Every is how often a log that grew gets a checkpoint; default 10s.
	Every Duration `yaml:"every"`
	// Publish are the places outside where checkpoints are put, so that nobody who has this machine can make another past;
	// default none.
	Publish []AuditPublish `yaml:"publish"`
}

// AuditPublish is one place for checkpoints: file, url or nats.
type AuditPublish struct {
	// File is replaced by each checkpoint, such as one on a share that is backed up or kept read-only elsewhere.
	File string `yaml:"file"`
	// URL is sent each checkpoint by PUT; https, or http to a loopback address.
	URL string `yaml:"url"`
	// TokenFile holds a bearer token for URL.
	TokenFile string `yaml:"token_file"`
	// CAFile is a PEM file of authorities for URL's or NATS's certificate; default: the system's.
	CAFile string `yaml:"ca_file"`
	// NATS is a NATS server or cluster, nats:// or tls://, several with commas between them, which is sent each
	// checkpoint as a message with the subject Subject. A JetStream stream must store it, best one that whoever runs
	// this server cannot alter: published is what a stream acknowledged.
	NATS string `yaml:"nats"`
	// Subject of the messages; default assay.audit.checkpoint.
	Subject string `yaml:"subject"`
	// CredentialsFile is a NATS .creds file.
	CredentialsFile string `yaml:"credentials_file"`
}

// AuditPseudonyms says where the keys of pseudonyms come from.
type AuditPseudonyms struct {
	// Key is the key of vault.keys with use pseudonym that the role notary has the keys of periods from; default none:
	// identifiers are erased.
	Key string `yaml:"key"`
	// Period is for how long one key serves: day, week, month, quarter or year, in UTC; default month.
	Period string `yaml:"period"`
}

// Configured tells whether there is an audit log.
func (a *Audit) Configured() bool { return a.Dir != "" }

func (c *Config) fillAudit() {
	a := &c.Audit
	if a.Mode == "" {
		a.Mode = string(ledger.Durable)
	}
	if a.Origin == "" {
		a.Origin = "localhost/audit"
		if len(c.PublicNames) > 0 {
			a.Origin = c.PublicNames[0] + "/audit"
		}
	}
	if a.Pseudonyms.Period == "" {
		a.Pseudonyms.Period = string(audit.Month)
	}
	setDefault(&a.Checkpoint.Every, ledger.DefaultCheckpointEvery)
	setDefault(&a.SegmentAge, ledger.DefaultSegmentAge)
	if a.SegmentBytes == 0 {
		a.SegmentBytes = ledger.DefaultSegmentBytes
	}
	if a.BufferBytes == 0 {
		a.BufferBytes = ledger.DefaultBufferBytes
	}
	for i := range a.Checkpoint.Publish {
		if p := &a.Checkpoint.Publish[i]; p.NATS != "" && p.Subject == "" {
			p.Subject = "assay.audit.checkpoint"
		}
	}
	for i := range a.Upload {
		a.Upload[i].fill()
	}
}

func (a *Audit) resolve(folder string) {
	paths := []*string{&a.Dir}
	for i := range a.Checkpoint.Publish {
		p := &a.Checkpoint.Publish[i]
		paths = append(paths, &p.File, &p.TokenFile, &p.CAFile, &p.CredentialsFile)
	}
	for _, path := range paths {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(folder, *path)
		}
	}
	for i := range a.Upload {
		a.Upload[i].resolve(folder)
	}
}

func (d *document) checkAudit(c *Config) {
	a := &c.Audit
	if !a.Configured() {
		if d.given("audit") {
			d.at("audit", "give dir, the folder of the log: without it nothing is written")
		}
		return
	}
	if info, err := os.Stat(a.Dir); err == nil && !info.IsDir() {
		d.at("audit.dir", "%s is no folder", a.Dir)
	}
	if !slices.Contains([]string{string(ledger.Durable), string(ledger.Buffered)}, a.Mode) {
		d.at("audit.mode", "%q: choose durable or buffered", a.Mode)
	}
	if a.Origin == "" || len(a.Origin) > 200 || strings.ContainsAny(a.Origin, " \t\r\n+") || strings.Contains(a.Origin, "://") {
		d.at("audit.origin", "%q: write it like a URL without its scheme, such as assay.example/replica-1, with no blank and no plus sign", a.Origin)
	}
	if !slices.Contains(audit.Periods(), audit.Period(a.Pseudonyms.Period)) {
		d.at("audit.pseudonyms.period", "%q: choose day, week, month, quarter or year", a.Pseudonyms.Period)
	}
	if a.Retention < 0 || a.Retention > 0 && a.Retention < a.SegmentAge {
		d.at("audit.retention", "%s: whole segments are deleted, and one may be as old as segment_age, %s: keep at least as long, or leave it out", a.Retention, a.SegmentAge)
	}
	if a.SegmentBytes < 1<<20 {
		d.at("audit.segment_bytes", "%d: must be at least 1048576", a.SegmentBytes)
	}
	if a.SegmentAge.D() < time.Minute {
		d.at("audit.segment_age", "%s: must be at least 1m", a.SegmentAge)
	}
	if a.BufferBytes < 1<<20 {
		d.at("audit.buffer_bytes", "%d: must be at least 1048576", a.BufferBytes)
	}
	if a.Checkpoint.Every.D() < time.Second {
		d.at("audit.checkpoint.every", "%s: must be at least 1s", a.Checkpoint.Every)
	}
	d.auditKey(c, "audit.checkpoint.key", a.Checkpoint.Key, "checkpoint")
	d.auditKey(c, "audit.pseudonyms.key", a.Pseudonyms.Key, "pseudonym")
	if len(a.Checkpoint.Publish) > 0 && a.Checkpoint.Key == "" {
		d.at("audit.checkpoint.publish", "there is nothing to publish without audit.checkpoint.key")
	}
	for i := range a.Checkpoint.Publish {
		d.checkPublish("audit.checkpoint.publish["+strconv.Itoa(i)+"]", &a.Checkpoint.Publish[i])
	}
	d.checkUploads(a.Upload)
}

// given tells whether a key of the top level is in the file.
func (d *document) given(key string) bool {
	return d.root != nil && d.find(key) != d.root
}

// auditKey checks that a key is there, serves the use, and that this process may use it.
func (d *document) auditKey(c *Config, at, name, use string) {
	if name == "" {
		return
	}
	key, ok := c.Vault.Keys[name]
	switch {
	case !ok:
		d.at(at, "there is no key %q under vault.keys", name)
	case key.Use != use:
		d.at(at, "the key %q has use %s: it needs use: %s", name, key.Use, use)
	case c.Vault.Roles.Notary == nil:
		d.at(at, "only the notary may use that key: give vault.roles.notary")
	}
}

func (d *document) checkPublish(at string, p *AuditPublish) {
	places := 0
	for _, place := range []string{p.File, p.URL, p.NATS} {
		if place != "" {
			places++
		}
	}
	if places != 1 {
		d.at(at, "give one of file, url and nats")
		return
	}
	if p.URL != "" {
		d.remote(at+".url", p.URL)
	}
	for _, server := range strings.Split(p.NATS, ",") {
		if u, err := url.Parse(server); p.NATS != "" && (err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls") {
			d.at(at+".nats", "holds an address that is neither nats://host:port nor tls://host:port")
		} else if u != nil && u.User != nil {
			d.at(at+".nats", "holds a password or token: name a credentials_file instead")
		}
	}
	for key, wrong := range map[string]bool{
		"token_file": p.TokenFile != "" && p.URL == "", "ca_file": p.CAFile != "" && p.File != "",
		"subject": p.Subject != "" && p.NATS == "", "credentials_file": p.CredentialsFile != "" && p.NATS == "",
	} {
		if wrong {
			d.at(at+"."+key, "is not for this kind of place: take it out")
		}
	}
	if strings.ContainsAny(p.Subject, " \t\r\n*>") || strings.Contains("."+p.Subject+".", "..") && p.Subject != "" {
		d.at(at+".subject", "%q: words with dots between them, without * and >", p.Subject)
	}
	d.file(at+".token_file", p.TokenFile)
	d.file(at+".ca_file", p.CAFile)
	d.file(at+".credentials_file", p.CredentialsFile)
}
