//go:build linux

package loopback

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// Who names a reserved port may listen there, over and over; before and after, connections are refused.
func TestAReservedPort(t *testing.T) {
	p, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if conn, err := net.Dial("tcp", p.Address); !errors.Is(err, syscall.ECONNREFUSED) {
			if err == nil {
				err = conn.Close()
			}
			t.Errorf("nobody listens, and a connection is answered: %v", err)
		}
		l, err := net.Listen("tcp", p.Address)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", p.Address)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(conn.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
}

// Nobody who asks for any port gets a reserved one, though the server is away and most ports are taken.
func TestAReservedPortIsNobodyElses(t *testing.T) {
	reserved := make(map[string]bool)
	for range 200 {
		p, err := Reserve()
		if err != nil {
			t.Fatal(err)
		}
		if reserved[p.Address] {
			t.Fatalf("%s is reserved twice", p.Address)
		}
		reserved[p.Address] = true
		t.Cleanup(func() {
			if err := p.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	for range 500 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if reserved[l.Addr().String()] {
			t.Errorf("%s was given to somebody else", l.Addr())
		}
		t.Cleanup(func() { _ = l.Close() }) // a listener that served nobody
	}
}
