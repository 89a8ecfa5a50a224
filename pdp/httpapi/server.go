package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// ServerConfig is how the API is served.
type ServerConfig struct {
	API *API // required
	// TLS; nil serves in plain text, which is for loopback.
	TLS *TLSFiles

	// MaxHeader bounds a request's header in bytes; past it 431. Default 32 KiB.
	MaxHeader int
	// ReadHeaderTimeout, ReadTimeout and WriteTimeout bound a request as net/http defines; IdleTimeout a
	// connection between requests. Defaults 5 s, 15 s, 30 s but 10 s more than the API's Timeout at least, 2 min.
	ReadHeaderTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration
	// DrainTime is how long, once the server is told to stop, it goes on accepting requests while
	// /readyz says that it is shutting down, so that a balancer may notice. Default 0.
	DrainTime time.Duration
	// ShutdownTimeout is how long requests that were accepted may then take. Default 30 s.
	ShutdownTimeout time.Duration
	// Log gets what net/http complains about (handshakes that fail, malformed requests); nil: discarded.
	Log *slog.Logger
}

// TLSFiles names PEM files. They are read again every minute; a broken one leaves the last good in force.
type TLSFiles struct {
	Certificate, Key string // required
	// ClientCAs holds the authorities of client certificates; empty: none is asked for.
	ClientCAs string
	// RequireClientCertificate refuses connections without one. Else callers may use bearer tokens instead.
	RequireClientCertificate bool
	// MinVersion is tls.VersionTLS12, the default, or tls.VersionTLS13.
	MinVersion uint16
}

// reloadEvery is how often TLS files are looked at.
const reloadEvery = time.Minute

// Server serves an API on one listener.
type Server struct {
	c    ServerConfig
	http *http.Server
	tls  atomic.Pointer[tls.Config] // nil in plain text
}

// NewServer checks the configuration and reads the TLS files.
func NewServer(c ServerConfig) (*Server, error) {
	if c.API == nil {
		return nil, errors.New("httpapi: ServerConfig needs an API")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{c: c}
	s.http = &http.Server{
		Handler:                      c.API,
		ReadHeaderTimeout:            orDefault(c.ReadHeaderTimeout, 5*time.Second),
		ReadTimeout:                  orDefault(c.ReadTimeout, 15*time.Second),
		WriteTimeout:                 orDefault(c.WriteTimeout, max(30*time.Second, c.API.c.Timeout+10*time.Second)),
		IdleTimeout:                  orDefault(c.IdleTimeout, 2*time.Minute),
		MaxHeaderBytes:               orDefault(c.MaxHeader, 32<<10),
		ErrorLog:                     slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true,
		ConnContext:                  withConnection,
		ConnState:                    stateOf,
	}
	if c.TLS == nil {
		return s, nil
	}
	if err := s.reload(); err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	s.http.TLSConfig = &tls.Config{
		MinVersion: s.tls.Load().MinVersion,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.tls.Load(), nil
		},
	}
	return s, nil
}

// reload builds a TLS configuration from the files and puts it in force.
func (s *Server) reload() error {
	files := s.c.TLS
	certificate, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return fmt.Errorf("the server's certificate: %w", err)
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   orDefault16(files.MinVersion, tls.VersionTLS12),
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if c.MinVersion < tls.VersionTLS12 {
		return errors.New("TLS below version 1.2 is not served")
	}
	switch {
	case files.ClientCAs != "":
		pem, err := os.ReadFile(files.ClientCAs)
		if err != nil {
			return fmt.Errorf("the authorities of client certificates: %w", err)
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("the authorities of client certificates: %s holds no certificate in PEM", files.ClientCAs)
		}
		c.ClientAuth = tls.VerifyClientCertIfGiven
		if files.RequireClientCertificate {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
	case files.RequireClientCertificate:
		return errors.New("client certificates are required, but no authorities for them are configured")
	}
	s.tls.Store(c)
	return nil
}

func orDefault16(value, fallback uint16) uint16 {
	if value == 0 {
		return fallback
	}
	return value
}

// Serve accepts connections until ctx ends, then drains: /readyz fails, answers ask for their connection
// to be closed, after DrainTime no connection is accepted any more, and what was accepted is answered for
// up to ShutdownTimeout. It closes the listener, and returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	go func() {
		if s.c.TLS != nil {
			served <- s.http.ServeTLS(l, "", "")
			return
		}
		served <- s.http.Serve(connections{l})
	}()
	ticker := time.NewTicker(reloadEvery)
	defer ticker.Stop()
	for done := false; !done; {
		select {
		case err := <-served:
			return fmt.Errorf("serving: %w", err)
		case <-ticker.C:
			if s.c.TLS == nil {
				continue
			}
			if err := s.reload(); err != nil {
				s.c.Log.Warn("the TLS files are not usable; the last good ones stay in force", "cause", err)
			}
		case <-ctx.Done():
			done = true
		}
	}
	s.c.API.Drain()
	if s.c.DrainTime > 0 {
		wait := time.NewTimer(s.c.DrainTime)
		defer wait.Stop()
		select {
		case err := <-served:
			return fmt.Errorf("serving: %w", err)
		case <-wait.C:
		}
	}
	// ctx is over; what was accepted gets a time of its own.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), orDefault(s.c.ShutdownTimeout, 30*time.Second))
	defer cancel()
	err := s.http.Shutdown(last)
	if err == nil {
		err = s.c.API.release(last)
	}
	if served := <-served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("shutting down: %w", err), s.http.Close())
	}
	return nil
}
