package config_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/config"
)

func TestValidateEdge(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(c *config.Config)
		want   string // in the error; "" for none
	}{
		{"several addresses", func(c *config.Config) { c.Listen = "127.0.0.1:1, [::1]:1,unix:/run/x.sock" }, ""},
		{"one of them without a port", func(c *config.Config) { c.Listen = "127.0.0.1:1,localhost" }, "--listen: "},
		{"an empty one", func(c *config.Config) { c.Listen = "127.0.0.1:1," }, "--listen: "},
		{"one twice", func(c *config.Config) { c.Listen = "127.0.0.1:1,127.0.0.1:1" }, "--listen: "},
		{"any port twice", func(c *config.Config) { c.Listen = "127.0.0.1:0,127.0.0.1:0" }, ""},
		{"a relative socket", func(c *config.Config) { c.Listen = "unix:x.sock" }, "--listen: "},
		{"a socket without a path", func(c *config.Config) { c.Listen = "unix:" }, "--listen: "},
		{"a long socket", func(c *config.Config) { c.Listen = "unix:/" + strings.Repeat("x", 103) }, "--listen: "},
		{"a mode", func(c *config.Config) { c.SocketMode = "0660" }, ""},
		{"a mode without a zero", func(c *config.Config) { c.SocketMode = "432" }, "--socket-mode: "},
		{"a mode in decimal", func(c *config.Config) { c.SocketMode = "0680" }, "--socket-mode: "},
		{"a mode too large", func(c *config.Config) { c.SocketMode = "01777" }, "--socket-mode: "},
		{"TLS", func(c *config.Config) { c.TLSCert, c.TLSKey = "a", "b" }, ""},
		{"a certificate alone", func(c *config.Config) { c.TLSCert = "a" }, "--tls-cert, --tls-key: "},
		{"a key alone", func(c *config.Config) { c.TLSKey = "a" }, "--tls-cert, --tls-key: "},
		{"origins", func(c *config.Config) {
			c.CORSOrigin = []string{"https://app.example", "http://localhost:3000", "chrome-extension://abcdef"}
		}, ""},
		{"every origin", func(c *config.Config) { c.CORSOrigin = []string{"*"} }, "--cors-origin: "},
		{"every origin of a domain", func(c *config.Config) { c.CORSOrigin = []string{"https://*.example"} }, "--cors-origin: "},
		{"the null origin", func(c *config.Config) { c.CORSOrigin = []string{"null"} }, "--cors-origin: "},
		{"a path", func(c *config.Config) { c.CORSOrigin = []string{"https://app.example/"} }, "--cors-origin: "},
		{"an upper-case host", func(c *config.Config) { c.CORSOrigin = []string{"https://App.example"} }, "--cors-origin: "},
		{"the scheme's own port", func(c *config.Config) { c.CORSOrigin = []string{"https://app.example:443"} }, "--cors-origin: "},
		{"no host", func(c *config.Config) { c.CORSOrigin = []string{"https://"} }, "--cors-origin: "},
		{"a delay", func(c *config.Config) {
			c.DrainDelay, c.ShutdownTimeout = config.Seconds(time.Second), config.Seconds(time.Second)
		}, ""},
		{"a delay too long", func(c *config.Config) { c.DrainDelay = config.Seconds(time.Second) }, "--drain-delay: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := valid()
			tt.change(&c)
			err := c.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestEdgeFromAFile(t *testing.T) {
	c, err := parse(t, "listen: [127.0.0.1:1, \"unix:/run/x.sock\"]\ncors-origin: [https://a.example, https://b.example]\nsocket-mode: \"0660\"\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Addresses(), []string{"127.0.0.1:1", "unix:/run/x.sock"}) || len(c.CORSOrigin) != 2 || c.Mode() != 0o660 || c.TLS() {
		t.Errorf("got %+v", *c)
	}
}
