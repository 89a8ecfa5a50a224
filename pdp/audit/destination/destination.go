// Package destination is what the places that records and checkpoints are sent to over HTTP have in common.
package destination

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Told gives of an http.Client's error what can be told to anybody. net/http quotes a malformed answer, and
// the other side may have put into that what it was sent, such as a bearer token.
func Told(err error) error {
	var (
		exchange    *url.Error
		network     *net.OpError
		certificate *tls.CertificateVerificationError
		timeout     net.Error
	)
	if !errors.As(err, &exchange) {
		return err
	}
	why := errors.New("the answer is not HTTP that can be read")
	switch {
	case errors.As(exchange.Err, &certificate):
		why = certificate
	case errors.As(exchange.Err, &network):
		why = network
	case errors.Is(exchange.Err, context.Canceled):
		why = context.Canceled
	case errors.As(exchange.Err, &timeout) && timeout.Timeout():
		why = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	case errors.Is(exchange.Err, io.EOF), errors.Is(exchange.Err, io.ErrUnexpectedEOF):
		why = errors.New("the connection was closed without an answer")
	case errors.Is(exchange.Err, http.ErrSchemeMismatch):
		why = http.ErrSchemeMismatch
	}
	return &url.Error{Op: exchange.Op, URL: exchange.URL, Err: why}
}
