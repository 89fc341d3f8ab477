package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// Edge says how callers reach the service, and how it stops.
type Edge struct {
	SocketMode string   `help:"Rights of the unix sockets that are listened on, in octal." default:"0600" env:"CLAUDE_API_SOCKET_MODE" group:"Listening"`
	TLSCert    string   `name:"tls-cert" help:"File with the certificate, and those above it, in PEM: what is listened on except unix sockets then speaks TLS. Needs --tls-key. Read again when it changes." env:"CLAUDE_API_TLS_CERT" group:"Listening"`
	TLSKey     string   `name:"tls-key" help:"File with the certificate's private key in PEM." env:"CLAUDE_API_TLS_KEY" group:"Listening"`
	CORSOrigin []string `name:"cors-origin" help:"Origins whose pages may call the service from a browser, as https://app.example, with commas between; none by default." env:"CLAUDE_API_CORS_ORIGIN" group:"Listening"`

	RequestTimeout Seconds `help:"How long one request may take in all; 0: as long as it takes." default:"0" env:"CLAUDE_API_REQUEST_TIMEOUT" group:"Stopping"`
	DrainDelay     Seconds `help:"How long the service goes on serving when it is stopped, for balancers to see that /ready is 503; part of --shutdown-timeout." default:"0" env:"CLAUDE_API_DRAIN_DELAY" group:"Stopping"`
}

// UnixPrefix begins the addresses that are paths of unix sockets.
const UnixPrefix = "unix:"

// Addresses are what is listened on: host:port, or unix:/path.
func (c *Config) Addresses() []string {
	var addresses []string
	for address := range strings.SplitSeq(c.Listen, ",") {
		addresses = append(addresses, strings.TrimSpace(address))
	}
	return addresses
}

// TLS says that the service speaks TLS.
func (e *Edge) TLS() bool { return e.TLSCert != "" }

// Mode is SocketMode as a number, 0600 where it is empty. It must be valid.
func (e *Edge) Mode() fs.FileMode {
	if e.SocketMode == "" {
		return 0o600
	}
	mode, _ := strconv.ParseUint(e.SocketMode, 8, 32)
	return fs.FileMode(mode)
}

// maxSocketPath is the longest path that the address of a unix socket holds on
// every system: 103 bytes on macOS, 107 on Linux.
const maxSocketPath = 103

func (c *Config) validateEdge() error {
	seen := map[string]bool{}
	for _, address := range c.Addresses() {
		path, unix := strings.CutPrefix(address, UnixPrefix)
		switch {
		case unix && !filepath.IsAbs(path):
			return fmt.Errorf("--listen: %q: a unix socket needs an absolute path", address)
		case unix && len(path) > maxSocketPath:
			return fmt.Errorf("--listen: the path of a unix socket has at most %d bytes", maxSocketPath)
		case !unix:
			if _, _, err := net.SplitHostPort(address); err != nil {
				return fmt.Errorf("--listen: %w", err)
			}
		}
		if seen[address] && !strings.HasSuffix(address, ":0") {
			return fmt.Errorf("--listen: %q is named twice", address)
		}
		seen[address] = true
	}
	if mode, err := strconv.ParseUint(c.SocketMode, 8, 32); c.SocketMode != "" && (err != nil || mode > 0o777 || c.SocketMode[0] != '0') {
		// Without the 0 it may be YAML's idea of an octal number, in decimal.
		return fmt.Errorf("--socket-mode: %q isn't a number such as 0660 (in YAML with quotes)", c.SocketMode)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("--tls-cert, --tls-key: one needs the other")
	}
	for _, origin := range c.CORSOrigin {
		if !isOrigin(origin) {
			return fmt.Errorf("--cors-origin: %q isn't an origin such as https://app.example", origin)
		}
	}
	if c.DrainDelay > c.ShutdownTimeout {
		return errors.New("--drain-delay: must not be longer than --shutdown-timeout, which it is part of")
	}
	return nil
}

// isOrigin says whether a text is an origin as browsers write it: scheme, host in
// lower case, and a port that isn't the scheme's own. "*" and "null" are none.
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" || text != u.Scheme+"://"+u.Host || text != strings.ToLower(text) || strings.ContainsAny(text, "*@") {
		return false
	}
	switch u.Scheme {
	case "http":
		return u.Port() != "80"
	case "https":
		return u.Port() != "443"
	}
	return u.Scheme != "" && u.Port() == "" // a browser extension's
}
