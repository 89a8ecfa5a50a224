package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp/audit/upload"
)

// Upload is one place outside that the records of the audit log are delivered to: url or jetstream.
type Upload struct {
	// Name is that of its files, in metrics and in health: lower-case letters, digits, - and _. Unique.
	Name string `yaml:"name"`
	// URL is that of a service that takes OPA's decision logs; events are posted to it with /logs behind. https, or
	// http to a loopback address.
	URL string `yaml:"url"`
	// TokenFile holds a bearer token for URL. It is read for every request.
	TokenFile string `yaml:"token_file"`
	// CAFile is a PEM file of authorities for the service's certificate, default the system's; CertFile and KeyFile
	// are this client's own.
	CAFile   string `yaml:"ca_file"`
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ChunkBytes is the largest body, packed; default 262144, at least 1024. For URL.
	ChunkBytes int `yaml:"chunk_bytes"`
	// Timeout of one request; default 30s. For URL.
	Timeout Duration `yaml:"timeout"`
	// JetStream is a stream of a NATS server.
	JetStream UploadStream `yaml:"jetstream"`
	// Hold is how long retention waits for records whose time is over and that were not delivered here; default 168h, and 0s
	// means that too: not to wait is may_miss. Then they are deleted, which is recorded, logged, counted, and told by health: a
	// destination that is gone must not fill the disk.
	Hold Duration `yaml:"hold"`
	// MayMiss has retention not wait for this destination at all. What it misses is told likewise.
	MayMiss bool `yaml:"may_miss"`
}

// UploadStream is a JetStream stream that takes records, one message each, with the subject stream.event.
type UploadStream struct {
	// URL is that of a NATS server or cluster: nats:// or tls://, several with commas between them.
	URL string `yaml:"url"`
	// CredentialsFile is a NATS .creds file.
	CredentialsFile string `yaml:"credentials_file"`
	// CAFile is a PEM file of authorities for the server's certificate; CertFile and KeyFile are this client's.
	CAFile   string `yaml:"ca_file"`
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// Stream is its name; default ASSAY_AUDIT. One that is there is used as it is; else it is made with what follows.
	Stream string `yaml:"stream"`
	// Replicas: 1 to 5; default 1.
	Replicas int `yaml:"replicas"`
	// MaxBytes bounds the stream; default: the server's limits. Full, it refuses, and the log waits.
	MaxBytes int64 `yaml:"max_bytes"`
	// MaxAge is how long the stream keeps a message; default: for ever.
	MaxAge Duration `yaml:"max_age"`
	// DuplicateWindow is how long the stream knows a message by its name, and drops it when it comes again; default 2m.
	DuplicateWindow Duration `yaml:"duplicate_window"`
}

// defaultHold leaves a week in which to see what health and metrics say, and to mend it.
const defaultHold = 7 * 24 * time.Hour

func (u *Upload) fill() {
	if !u.MayMiss {
		setDefault(&u.Hold, defaultHold)
	}
	if u.URL != "" {
		setDefault(&u.Timeout, upload.DefaultTimeout)
		if u.ChunkBytes == 0 {
			u.ChunkBytes = upload.DefaultChunkBytes
		}
	}
	if j := &u.JetStream; j.URL != "" {
		setDefault(&j.DuplicateWindow, upload.DefaultDuplicateWindow)
		if j.Stream == "" {
			j.Stream = upload.DefaultStream
		}
		if j.Replicas == 0 {
			j.Replicas = 1
		}
	}
}

// files are its paths, by their keys.
func (u *Upload) files() map[string]*string {
	j := &u.JetStream
	return map[string]*string{
		"token_file": &u.TokenFile, "ca_file": &u.CAFile, "cert_file": &u.CertFile, "key_file": &u.KeyFile,
		"jetstream.credentials_file": &j.CredentialsFile, "jetstream.ca_file": &j.CAFile, "jetstream.cert_file": &j.CertFile, "jetstream.key_file": &j.KeyFile,
	}
}

func (u *Upload) resolve(folder string) {
	for _, path := range u.files() {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(folder, *path)
		}
	}
}

// checkUploads checks audit.upload.
func (d *document) checkUploads(uploads []Upload) {
	names := make(map[string]bool, len(uploads))
	for i := range uploads {
		u := &uploads[i]
		at := fmt.Sprintf("audit.upload[%d]", i)
		if err := upload.CheckName(u.Name); err != nil {
			d.at(at+".name", "%v", err)
		} else if names[u.Name] {
			d.at(at+".name", "%q stands twice: its files would be those of both", u.Name)
		}
		names[u.Name] = true
		for key, path := range u.files() {
			d.file(at+"."+key, *path)
		}
		if u.Hold < 0 || u.MayMiss && u.Hold > 0 {
			d.at(at+".hold", "%s: must not be negative, and is not for a destination that may_miss records, for which nothing is held", u.Hold)
		}
		switch {
		case (u.URL == "") == (u.JetStream.URL == ""):
			d.at(at, "give url, a service that takes OPA's decision logs, or jetstream with a url, and not both")
		case u.URL != "":
			d.checkUploadService(at, u)
		default:
			d.checkUploadStream(at, u)
		}
	}
}

func (d *document) checkUploadService(at string, u *Upload) {
	if err := upload.CheckURL(u.URL, false); err != nil {
		d.at(at+".url", "%v", err)
	}
	if (u.CertFile == "") != (u.KeyFile == "") {
		d.at(at, "cert_file and key_file go together: give both or neither")
	}
	if u.ChunkBytes < 1<<10 {
		d.at(at+".chunk_bytes", "%d: must be at least 1024 bytes", u.ChunkBytes)
	}
	if u.Timeout <= 0 {
		d.at(at+".timeout", "must be longer than zero")
	}
	if u.JetStream != (UploadStream{}) {
		d.at(at+".jetstream", "is for a stream: take out url, or this")
	}
}

func (d *document) checkUploadStream(at string, u *Upload) {
	for key, given := range map[string]bool{
		"token_file": u.TokenFile != "", "ca_file": u.CAFile != "", "cert_file": u.CertFile != "", "key_file": u.KeyFile != "",
		"chunk_bytes": u.ChunkBytes != 0, "timeout": u.Timeout != 0,
	} {
		if given {
			d.at(at+"."+key, "is for a service with url; what belongs to the stream stands under jetstream")
		}
	}
	at += ".jetstream"
	j := &u.JetStream
	for _, server := range strings.Split(j.URL, ",") {
		if address, err := url.Parse(server); err != nil || address.Host == "" || address.Scheme != "nats" && address.Scheme != "tls" {
			d.at(at+".url", "holds an address that is neither nats://host:port nor tls://host:port")
		} else if address.User != nil {
			d.at(at+".url", "holds a password or token: name a credentials_file instead")
		}
	}
	if (j.CertFile == "") != (j.KeyFile == "") {
		d.at(at, "cert_file and key_file go together: give both or neither")
	}
	if err := upload.CheckStream(j.Stream); err != nil {
		d.at(at+".stream", "%v", err)
	}
	if j.Replicas < 1 || j.Replicas > 5 {
		d.at(at+".replicas", "%d: must be from 1 to 5", j.Replicas)
	}
	if j.MaxBytes < 0 || j.MaxAge < 0 {
		d.at(at, "max_bytes and max_age must not be negative")
	}
	if w := j.DuplicateWindow; w.D() < 100*time.Millisecond || j.MaxAge > 0 && w > j.MaxAge {
		d.at(at+".duplicate_window", "%s: must be at least 100ms, and no longer than max_age", w)
	}
}
