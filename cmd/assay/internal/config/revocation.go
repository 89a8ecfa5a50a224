package config

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Revocation says where what is revoked is kept; default nowhere: then nothing can be revoked.
type Revocation struct {
	JetStream JetStream `yaml:"jetstream"`
	// MaxAge is how old the index may be and still count as fresh; default 10s. Past it policy is told the age,
	// and denies with revocation.feed_stale past its own revocation.max_age_seconds.
	MaxAge Duration `yaml:"max_age"`
	// Heartbeat is how often freshness is proven by a message in the stream; default 1s, at most half of max_age.
	Heartbeat Duration `yaml:"heartbeat"`
}

// JetStream is a NATS JetStream stream: dir or url.
type JetStream struct {
	// Dir is the folder of a JetStream server inside this process. One process at a time.
	Dir string `yaml:"dir"`
	// URL is that of an external NATS server or cluster: nats:// or tls://, several with commas between them.
	URL string `yaml:"url"`
	// CredentialsFile is a NATS .creds file.
	CredentialsFile string `yaml:"credentials_file"`
	// CAFile is a PEM file of authorities for the server's certificate; CertFile and KeyFile are this client's.
	CAFile   string `yaml:"ca_file"`
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// Replicas of the stream, where it has to be made: 1 to 5; default 1. A cluster of three servers wants 3.
	Replicas int `yaml:"replicas"`
	// Stream is its name, and the prefix of its subjects; default ASSAY_REVOCATIONS.
	Stream string `yaml:"stream"`
	// StoreLimit bounds the stream, in bytes; default: the disk. Past it new revocations are refused.
	StoreLimit int64 `yaml:"store_limit"`
}

// Configured tells whether there are revocations.
func (r *Revocation) Configured() bool { return r.JetStream.Dir != "" || r.JetStream.URL != "" }

func (r *Revocation) fill() {
	setDefault(&r.MaxAge, 10*time.Second)
	setDefault(&r.Heartbeat, time.Second)
	if r.JetStream.Replicas == 0 {
		r.JetStream.Replicas = 1
	}
	if r.JetStream.Stream == "" {
		r.JetStream.Stream = "ASSAY_REVOCATIONS"
	}
}

// files are its paths.
func (j *JetStream) files() []*string {
	return []*string{&j.CredentialsFile, &j.CAFile, &j.CertFile, &j.KeyFile}
}

func (r *Revocation) resolve(folder string) {
	for _, path := range append(r.JetStream.files(), &r.JetStream.Dir) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(folder, *path)
		}
	}
}

func (d *document) checkRevocation(r *Revocation) {
	j := &r.JetStream
	const at = "revocation.jetstream"
	if j.Dir != "" && j.URL != "" {
		d.at(at, "dir and url exclude each other: dir is a server inside this process, url an external one")
	}
	if j.URL == "" {
		for name, path := range map[string]string{"credentials_file": j.CredentialsFile, "ca_file": j.CAFile, "cert_file": j.CertFile, "key_file": j.KeyFile} {
			if path != "" {
				d.at(at+"."+name, "is for an external server: give url, or take it out")
			}
		}
		if j.Replicas > 1 {
			d.at(at+".replicas", "the server inside this process has one copy: give the url of a cluster, or take it out")
		}
	}
	for _, server := range strings.Split(j.URL, ",") {
		if u, err := url.Parse(server); j.URL != "" && (err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls") {
			d.at(at+".url", "holds an address that is neither nats://host:port nor tls://host:port")
		} else if u != nil && u.User != nil {
			d.at(at+".url", "holds a password or token: name a credentials_file instead")
		}
	}
	if info, err := os.Stat(j.Dir); j.Dir != "" && err == nil && !info.IsDir() {
		d.at(at+".dir", "%s is no folder", j.Dir)
	}
	if (j.CertFile == "") != (j.KeyFile == "") {
		d.at(at, "cert_file and key_file go together: give both or neither")
	}
	d.file(at+".credentials_file", j.CredentialsFile)
	d.file(at+".ca_file", j.CAFile)
	d.file(at+".cert_file", j.CertFile)
	d.file(at+".key_file", j.KeyFile)
	if j.Replicas < 1 || j.Replicas > 5 {
		d.at(at+".replicas", "%d: must be from 1 to 5", j.Replicas)
	}
	if j.StoreLimit < 0 || j.StoreLimit > 0 && j.StoreLimit < 1<<20 {
		d.at(at+".store_limit", "%d: must be at least 1048576 bytes, or left out", j.StoreLimit)
	}
	if len(j.Stream) > 64 || strings.Trim(j.Stream, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" || strings.ContainsAny(j.Stream, ".*> ") {
		d.at(at+".stream", "%q: letters, digits, - and _, at most 64", j.Stream)
	}
	if r.Heartbeat <= 0 || r.MaxAge.D() < 2*r.Heartbeat.D() {
		d.at("revocation.max_age", "%s: must be at least twice the heartbeat, %s, or the index would look stale between two of them", r.MaxAge, r.Heartbeat)
	}
}
