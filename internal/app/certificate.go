package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// certificate is the service's own, from files that others renew. It is safe for
// concurrent use.
type certificate struct {
	current atomic.Pointer[tls.Certificate]

	mu                sync.Mutex // of what follows
	certFile, keyFile string
	cert, key         []byte // what current was made of
}

// readCertificate reads a certificate and its key.
func readCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{}
	if _, err := c.read(certFile, keyFile); err != nil {
		return nil, err
	}
	return c, nil
}

// read reads the files and uses what they hold from now on, for new connections;
// changed says that it is another one. On an error all stays as it was.
func (c *certificate) read(certFile, keyFile string) (changed bool, err error) {
	use, err := c.prepare(certFile, keyFile)
	if err != nil {
		return false, err
	}
	return use(), nil
}

// prepare reads the files; use uses what they held.
func (c *certificate) prepare(certFile, keyFile string) (use func() (changed bool), err error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("--tls-key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		changed := !bytes.Equal(cert, c.cert) || !bytes.Equal(key, c.key)
		c.certFile, c.keyFile, c.cert, c.key = certFile, keyFile, cert, key
		if changed {
			c.current.Store(&pair)
		}
		return changed
	}, nil
}

// files are those that are read.
func (c *certificate) files() (certFile, keyFile string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.certFile, c.keyFile
}

// config is for a server. Callers older than TLS 1.2 are refused.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

// certificateEvery is how often the files are looked at. A pair of which only one
// file is new yet is broken; the next look finds both.
const certificateEvery = 10 * time.Second

// watch reads the files again and again until ctx ends. What can't be used is
// logged once.
func (c *certificate) watch(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(certificateEvery)
	defer ticker.Stop()
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		changed, err := c.read(c.files())
		switch {
		case err == nil && changed:
			log.Info("the certificate is new")
			fallthrough
		case err == nil:
			reported = ""
		case err.Error() != reported:
			reported = err.Error()
			log.Error("the new certificate can't be used: the former one stays", "error", err)
		}
	}
}
