// Package apikey makes, lists and revokes the keys of the service, and
// authenticates callers by them. A key's text is shown once, when it is made:
// only its SHA-256 is stored.
package apikey

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
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

// The profiles: what a key may do on the agentic endpoints.
const (
	ProfileFree       = "free"
	ProfilePro        = "pro"
	ProfileEnterprise = "enterprise"
)

// Key is what is known of a key: everything but its text. Times are in UTC and
// whole microseconds.
type Key struct {
	ID                string // "key_" and 16 hexadecimal characters
	Prefix            string // the key's first 11 characters, for people
	Name              string // free text, may be empty
	ProjectID         string
	Profile           string
	RequestsPerMinute int // 0: no limit
	CreatedAt         time.Time
	ExpiresAt         *time.Time // nil: never
	RevokedAt         *time.Time // nil: not revoked
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

// Errors of a Store, for errors.Is.
var (
	// ErrNotFound says that no key matches.
	ErrNotFound = errors.New("no such key")
	// ErrExists says that a key with the same id or hash is stored already.
	ErrExists = errors.New("key exists")
	// ErrAmbiguous says that a visible prefix belongs to several keys. Only Keys
	// returns it.
	ErrAmbiguous = errors.New("several keys have this prefix")
)

// Store keeps keys. It is safe for concurrent use, and other processes may
// change the same keys at the same time.
type Store interface {
	// CreateKey stores a new key. It is durable on return.
	CreateKey(ctx context.Context, key Key, hash Hash) error
	// KeyByHash finds a key, also an expired or revoked one, or ErrNotFound.
	KeyByHash(ctx context.Context, hash Hash) (Key, error)
	// KeysByRef finds the keys whose id or visible prefix is ref; none is no
	// error.
	KeysByRef(ctx context.Context, ref string) ([]Key, error)
	// ListKeys gives every key, the oldest first.
	ListKeys(ctx context.Context) ([]Key, error)
	// RevokeKey marks a key as revoked. A key that is revoked already keeps its
	// first time, without an error. It is durable on return.
	RevokeKey(ctx context.Context, id string, at time.Time) error
	// KeysVersion is a counter that every change of a key raises, in the same
	// transaction, whichever process makes it.
	KeysVersion(ctx context.Context) (int64, error)
}
