package loopback

import (
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"
)

// Reserve reserves a port. It is held by a socket that is bound and does not listen, with SO_REUSEADDR, beside which
// another may be bound to the very port, with SO_REUSEADDR too, as net.Listen's are (inet_csk_bind_conflict).
func Reserve() (*Port, error) {
	syscall.ForkLock.RLock()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var name syscall.Sockaddr
	if err == nil {
		name, err = syscall.Getsockname(socket)
	}
	bound, ok := name.(*syscall.SockaddrInet4)
	if err != nil || !ok {
		return nil, errors.Join(errors.New("reserving a port"), err, syscall.Close(socket))
	}
	return &Port{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(bound.Port)),
		hold:    func() error { return syscall.Close(socket) },
	}, nil
}
