package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// handedOver gives the sockets that the service manager listens on for this process
// (LISTEN_FDS, LISTEN_FDNAMES), in its order; none where there are none. Nobody that
// this process starts gets them, or hears of them. On an error all are closed.
func handedOver() (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				_ = l.Close() // it has accepted nothing
			}
			all = nil
		}
	}()
	for _, file := range activation.Files(true) {
		l, takeErr := take(file)
		if takeErr != nil {
			err = errors.Join(err, fmt.Errorf("the socket %s that was handed over: %w", file.Name(), takeErr))
			continue
		}
		all = append(all, l)
	}
	return all, err
}

var errNoListener = errors.New("it doesn't listen; the socket unit needs ListenStream= and Accept=no")

// take makes a listener of a descriptor, which it closes.
func take(file *os.File) (net.Listener, error) {
	defer func() { _ = file.Close() }() // the listener has a descriptor of its own
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var listens int
	var asked error
	if err := raw.Control(func(fd uintptr) {
		listens, asked = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	}); err != nil {
		return nil, err
	}
	if asked != nil || listens == 0 {
		return nil, errors.Join(errNoListener, asked)
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	if tcp, ok := l.(*net.TCPListener); ok {
		if err := vanishing(tcp); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// vanishing gives the connections of a socket what those of our own have.
func vanishing(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	return vanish("", "", raw)
}

// adopt makes what was handed over something that the service listens on: instead of
// --listen, and with TLS as that.
func (a *App) adoptSockets() (all []listening) {
	for _, l := range a.handed {
		_, unix := l.Addr().(*net.UnixAddr)
		all = append(all, listening{l, a.config.TLS() && !unix})
	}
	return all
}
