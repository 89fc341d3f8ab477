package protocol_test

import (
	"net/http/httptest"
	"testing"

	"claude-code-api-service/internal/protocol"
)

func TestAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:4321":           "192.0.2.1",
		"[2001:db8::1]:4321":       "2001:db8::1",
		"[fe80::1%eth0]:4321":      "fe80::1%eth0",
		"@":                        "unix",
		"":                         "unix",
		"[::ffff:192.0.2.1]:43210": "::ffff:192.0.2.1",
	} {
		r := httptest.NewRequest("POST", "/v1/x", nil)
		r.RemoteAddr = remote
		r.Header.Set("X-Forwarded-For", "198.51.100.7") // anybody can write it
		if got := protocol.Address(r); got != want {
			t.Errorf("the address of %q is %q, want %q", remote, got, want)
		}
	}
}
