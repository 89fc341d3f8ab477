package app

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair writes a certificate for 127.0.0.1, and its key.
func pair(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: certificate}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// shown is what an answer over TLS shows of the server.
type shown struct {
	major  int // of the protocol's version
	header http.Header
	name   string // in the certificate
}

// secureGet asks over TLS, trusting a certificate's file.
func secureGet(t *testing.T, a *App, certFile string, change func(*tls.Config)) (shown, error) {
	t.Helper()
	roots := x509.NewCertPool()
	text, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	if change != nil {
		change(transport.TLSClientConfig)
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL()+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return shown{}, err
	}
	_ = response.Body.Close()
	return shown{response.ProtoMajor, response.Header, response.TLS.PeerCertificates[0].Subject.CommonName}, nil
}

func TestTLS(t *testing.T) {
	c := settings(t)
	dir := t.TempDir()
	c.TLSCert, c.TLSKey = pair(t, dir, "first")
	a, _ := serving(t, c)
	got, err := secureGet(t, a, c.TLSCert, nil)
	if err != nil || got.major != 2 || got.name != "first" || got.header.Get("Strict-Transport-Security") == "" {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := secureGet(t, a, c.TLSCert, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	if _, err := secureGet(t, a, c.TLSCert, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}
	// Renewed in place, and asked to read it.
	pair(t, dir, "second")
	next := *c
	if err := a.Reload(t.Context(), &next); err != nil {
		t.Fatal(err)
	}
	if got, err := secureGet(t, a, c.TLSCert, nil); err != nil || got.name != "second" {
		t.Errorf("after a reload: %s, %v", got.name, err)
	}
}

// A certificate's files that change are read without being asked to, and one that
// is broken changes nothing.
func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := pair(t, dir, "first")
	c, err := readCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	first := c.current.Load()
	if changed, err := c.read(c.files()); changed || err != nil {
		t.Errorf("unchanged files: %v, %v", changed, err)
	}
	if err := os.WriteFile(certFile, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.read(c.files()); err == nil || c.current.Load() != first {
		t.Errorf("a broken file: %v", err)
	}
	pair(t, dir, "second")
	if changed, err := c.read(c.files()); !changed || err != nil || c.current.Load() == first {
		t.Errorf("another pair: %v, %v", changed, err)
	}
}

// over asks for /health over a unix socket.
func over(t *testing.T, path string) (int, error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://service/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	_ = response.Body.Close()
	return response.StatusCode, nil
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	// A service that was killed leaves its socket.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()

	c := settings(t)
	c.Listen = "unix:" + path + ",127.0.0.1:0"
	a, _ := serving(t, c)
	if status, err := over(t, path); status != http.StatusOK {
		t.Errorf("%d, %v", status, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if a.URL() != "unix:"+path {
		t.Errorf("URL %s", a.URL())
	}
	response, err := http.Get(a.listening[1].url() + "/health")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()

	// Another service doesn't take the socket of one that lives.
	second := settings(t)
	second.Listen = "127.0.0.1:0,unix:" + path
	b, err := New(t.Context(), second, silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a socket that is in use: %v", err)
	}
	if err := b.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if status, err := over(t, path); status != http.StatusOK {
		t.Errorf("after that %d, %v", status, err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// Nothing but a dead socket makes room for one.
func TestUnixSocketReplacesNothingElse(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link} {
		if l, err := listenUnix(t.Context(), path, 0o600); err == nil {
			_ = l.Close()
			t.Errorf("%s was replaced", path)
		}
		if text, err := os.ReadFile(path); string(text) != "data" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
}

// What others can read on their way is warned of.
func TestOpenListenerIsWarnedOf(t *testing.T) {
	for listen, warned := range map[string]bool{"127.0.0.1:0": false, "[::1]:0": false, "0.0.0.0:0": true, ":0": true} {
		c := settings(t)
		c.Listen = listen
		var log bytes.Buffer
		a, err := New(t.Context(), c, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); err != nil && listen == "[::1]:0" {
			t.Log(err) // a machine without IPv6
		} else if err != nil {
			t.Fatal(err)
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), "--tls-cert") != warned {
			t.Errorf("%s: %s", listen, log.String())
		}
	}
}
