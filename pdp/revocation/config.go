package revocation

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// Defaults of Config.
const (
	DefaultStream    = "ASSAY_REVOCATIONS"
	DefaultMaxAge    = 10 * time.Second
	DefaultHeartbeat = time.Second
)

// Config says where the stream is. Exactly one of Dir and URL.
type Config struct {
	// Dir is the folder of a JetStream server that runs inside this process and that nobody else can reach.
	// Every message is fsynced before it is acknowledged. One process at a time.
	Dir string
	// URL is that of an external NATS server or cluster, such as nats://a:4222,nats://b:4222 or tls://….
	URL string
	// CredentialsFile is a NATS .creds file (JWT and seed, RFC 8032 keys); CAFile, CertFile and KeyFile are PEM
	// files: the authorities for the server's certificate, and this client's own. For URL only.
	CredentialsFile           string
	CAFile, CertFile, KeyFile string
	// Replicas of the stream, when it has to be made; 1 by default, 3 or 5 in a cluster. For URL only.
	Replicas int
	// Stream is the stream's name, and the prefix of its subjects; default DefaultStream. Upper and lower case
	// letters, digits, - and _.
	Stream string
	// StoreLimit bounds the stream, in bytes; 0: no limit but the disk's. Past it new revocations are
	// refused; old ones never make room.
	StoreLimit int64
	// MaxAge is how old the index may be and still count as fresh; default DefaultMaxAge, at least twice Heartbeat.
	MaxAge time.Duration
	// Heartbeat is how often freshness is proven; default DefaultHeartbeat.
	Heartbeat time.Duration

	// Now is the wall clock, which entries end by; default time.Now. Elapsed is the monotonic clock, which
	// freshness is measured by: the time since any fixed moment; default that of the machine.
	Now     func() time.Time
	Elapsed func() time.Duration
	// Log hears of connections and restarts; default none. Observer counts; default nobody.
	Log      *slog.Logger
	Observer Observer
}

// Observer counts what happens. It is called from the goroutines that work and must not block.
type Observer interface {
	// RevocationPublished tells of one Publish or Remove: how long it took until it was effective here, or why not.
	RevocationPublished(took time.Duration, err error)
	// RevocationApplied tells of one message of the stream that changed the index, and how long ago it was stored,
	// on the servers' and this machine's clocks. Not called while the index is first loaded.
	RevocationApplied(delay time.Duration)
	// StreamReopened tells that the embedded server was started again, or reading had to begin anew.
	StreamReopened(cause string)
}

var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// complete checks and fills in defaults.
func (c Config) complete() (Config, error) {
	if (c.Dir == "") == (c.URL == "") {
		return c, errors.New("revocation: give the folder of an embedded JetStream server or the URL of an external one")
	}
	if c.Dir != "" && (c.CredentialsFile != "" || c.CAFile != "" || c.CertFile != "" || c.Replicas > 1) {
		return c, errors.New("revocation: credentials, certificates and replicas are for an external server; the embedded one has none")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return c, errors.New("revocation: a client certificate and its key go together")
	}
	if c.Stream == "" {
		c.Stream = DefaultStream
	}
	if !streamName.MatchString(c.Stream) {
		return c, fmt.Errorf("revocation: stream %q: letters, digits, - and _, at most 64", c.Stream)
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Replicas < 1 || c.Replicas > 5 || c.StoreLimit < 0 {
		return c, errors.New("revocation: replicas must be from 1 to 5, and the store limit not negative")
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = DefaultHeartbeat
	}
	if c.Heartbeat < 0 || c.MaxAge < 2*c.Heartbeat {
		return c, fmt.Errorf("revocation: max_age %s must be at least twice the heartbeat %s, or the index would look stale between two of them", c.MaxAge, c.Heartbeat)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Elapsed == nil {
		start := time.Now()
		c.Elapsed = func() time.Duration { return time.Since(start) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	return c, nil
}

type nobody struct{}

func (nobody) RevocationPublished(time.Duration, error) {}
func (nobody) RevocationApplied(time.Duration)          {}
func (nobody) StreamReopened(string)                    {}
