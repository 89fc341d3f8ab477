package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"claude-code-api-service/internal/config"
)

// listening is one of the things that the service listens on.
type listening struct {
	net.Listener
	secure bool // TLS
}

// url is how callers name it.
func (l listening) url() string {
	switch {
	case l.Addr().Network() == "unix":
		return config.UnixPrefix + l.Addr().String()
	case l.secure:
		return "https://" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}

// open says that others than this machine can read what is said there.
func (l listening) open() bool {
	address, ok := l.Addr().(*net.TCPAddr)
	return ok && !l.secure && !address.IP.IsLoopback()
}

// listen listens on all addresses, or on none.
func listen(ctx context.Context, c *config.Config) (all []listening, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
	}()
	for _, address := range c.Addresses() {
		var l net.Listener
		path, unix := strings.CutPrefix(address, config.UnixPrefix)
		if unix {
			l, err = listenUnix(ctx, path, c.Mode())
		} else {
			l, err = (&net.ListenConfig{Control: vanish}).Listen(ctx, "tcp", address)
		}
		if err != nil {
			return all, fmt.Errorf("listen: %w (--listen or --port choose another address)", err)
		}
		all = append(all, listening{l, c.TLS() && !unix})
	}
	return all, nil
}

func closeAll(all []listening) {
	for _, l := range all {
		_ = l.Close() // it has accepted nothing
	}
}

// userTimeout is how long a caller's machine may leave unacknowledged what was sent
// to it: one that has vanished is found then, and not after the quarter of an hour
// for which the kernel goes on sending.
const userTimeout = 60 * time.Second

// listenUnix listens on a unix socket with these rights. A socket that nobody
// listens on, which a service that was killed has left, makes room; nothing else
// does.
func listenUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && left(ctx, path) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		l, err = config.Listen(ctx, "unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// left says whether a path is a unix socket that nobody listens on.
func left(ctx context.Context, path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
