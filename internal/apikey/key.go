// Package apikey keeps the accounts of the service: keys, the projects and
// profiles that they belong to, and the budgets of both. It authenticates callers
// by their keys. A key's text is shown once, when it is made: only its SHA-256 is
// stored.
package apikey

import (
	"crypto/sha256"
	"time"

	"claude-code-api-service/internal/gateway"
)

// The form of a key: textPrefix and 40 lower hexadecimal characters, the
// writing of 20 random bytes.
const (
	textPrefix  = "cc_"
	randomBytes = 20
	textLength  = len(textPrefix) + 2*randomBytes
	// visibleLength is how much of a key is stored and shown to tell keys apart.
	// Its eight hexadecimal characters leave 128 unknown bits.
	visibleLength = len(textPrefix) + 8
)

// Key is what is known of a key: everything but its text. Times are in UTC and
// whole microseconds.
type Key struct {
	ID        string // "key_" and 16 hexadecimal characters
	Prefix    string // the first 11 characters of the key's text, for people
	Name      string // free text, may be empty
	ProjectID string
	Profile   string // the name of one
	// Admin says that the key administers the service. It generates nothing.
	Admin     bool
	Limits    gateway.RateLimits
	CreatedAt time.Time
	ExpiresAt *time.Time // nil: never
	RevokedAt *time.Time // nil: not revoked
	// FormerUntil is the moment until which the key's text before its last rotation
	// is taken too; nil: there is none.
	FormerUntil *time.Time
}

// Hash is the SHA-256 of a key's text.
//
// A fast hash without a salt is enough because a key carries 160 random bits:
// there is no dictionary to try. A slow one would let anybody spend the
// service's processor with made-up keys.
type Hash [sha256.Size]byte

// HashOf gives the hash under which a key is stored.
func HashOf(text string) Hash {
	// Keys of the right length are hashed from the stack.
	var buf [textLength]byte
	if len(text) == textLength {
		copy(buf[:], text)
		return sha256.Sum256(buf[:])
	}
	return sha256.Sum256([]byte(text))
}

// WellFormed says whether text has the form of a key.
func WellFormed(text string) bool {
	if len(text) != textLength || text[:len(textPrefix)] != textPrefix {
		return false
	}
	for _, c := range []byte(text[len(textPrefix):]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// VisiblePrefix gives what of a key's text is stored and shown, "" of what isn't one.
func VisiblePrefix(text string) string {
	if !WellFormed(text) {
		return ""
	}
	return text[:visibleLength]
}

// Taken says whether a text of the key's, of which this is the visible prefix, is taken
// at a moment.
func (k *Key) Taken(prefix string, now time.Time) bool {
	account := Account{Key: *k, Former: prefix != k.Prefix}
	return account.refusal(now) == nil
}
