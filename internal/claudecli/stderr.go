package claudecli

import (
	"strings"
	"sync"
)

// What is kept of a process's standard error, and how much of that the log
// quotes, in bytes.
const (
	keptStderr   = 16 << 10
	quotedStderr = 2 << 10
)

// leastSecret is the shortest text that is taken for a secret, in bytes: shorter
// ones would blacken ordinary words.
const leastSecret = 8

// ring keeps the last bytes that a process wrote to its standard error. It is
// safe for concurrent use.
type ring struct {
	secrets []string
	longest int // of the secrets

	mu   sync.Mutex
	data []byte
	cut  bool // something before data was dropped
}

func newRing(secrets []string) *ring {
	r := &ring{}
	for _, secret := range secrets {
		if len(secret) >= leastSecret {
			r.secrets, r.longest = append(r.secrets, secret), max(r.longest, len(secret))
		}
	}
	return r
}

// Write implements io.Writer.
func (r *ring) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = append(r.data, b...)
	if over := len(r.data) - keptStderr; over > 0 {
		r.data = append(r.data[:0], r.data[over:]...)
		r.cut = true
	}
	return len(b), nil
}

// String is the end of what was written, with the secrets blackened.
func (r *ring) String() string {
	r.mu.Lock()
	text := string(r.data)
	if r.cut {
		text = text[min(r.longest, len(text)):] // it may begin in the middle of a secret
	}
	r.mu.Unlock()
	for _, secret := range r.secrets {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	return strings.TrimSpace(text[max(0, len(text)-quotedStderr):])
}
