package apikey

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"claude-code-api-service/internal/apierror"
)

// Defaults and bounds of a new key.
const (
	// DefaultProfile is the middle one: it can read and use the limited tools,
	// and a forgotten flag doesn't hand out everything.
	DefaultProfile = ProfilePro
	// DefaultRequestsPerMinute is the service contract's.
	DefaultRequestsPerMinute = 100
	// MaxRequestsPerMinute only keeps out typing errors; 0 means no limit.
	MaxRequestsPerMinute = 1_000_000

	maxProjectID = 64
	maxName      = 128
)

// Options are what Keys needs.
type Options struct {
	Store Store
	// Now gives the time; nil is time.Now.
	Now func() time.Time
}

// Keys makes, lists and revokes keys. It is safe for concurrent use.
type Keys struct {
	store Store
	now   func() time.Time
}

// NewKeys makes the service over a store.
func NewKeys(options Options) *Keys {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Keys{options.Store, options.Now}
}

// Create is what a new key shall be.
type Create struct {
	ProjectID string // 1 to 64 of A-Z a-z 0-9 . _ -
	Name      string // optional, at most 128 characters, none a control character
	Profile   string // free, pro or enterprise; "" is DefaultProfile
	// RequestsPerMinute is the key's limit; nil is DefaultRequestsPerMinute and 0
	// is no limit.
	RequestsPerMinute *int
	ExpiresAt         *time.Time // optional, in the future
}

// Create makes a key and stores it. The text is returned here and never again.
// What is wrong with the wish is an apierror.BadRequest that names the field.
func (k *Keys) Create(ctx context.Context, wish Create) (text string, key Key, err error) {
	now := k.now().UTC().Truncate(time.Microsecond)
	key, err = wish.key(now)
	if err != nil {
		return "", Key{}, err
	}
	text = textPrefix + randomHex(randomBytes)
	key.ID = "key_" + randomHex(8)
	key.Prefix = text[:visibleLength]
	if err := k.store.CreateKey(ctx, key, HashOf(text)); err != nil {
		return "", Key{}, fmt.Errorf("create key: %w", err)
	}
	return text, key, nil
}

func (c Create) key(now time.Time) (Key, error) {
	key := Key{
		Name: c.Name, ProjectID: c.ProjectID, Profile: c.Profile,
		RequestsPerMinute: DefaultRequestsPerMinute, CreatedAt: now,
	}
	if err := CheckProjectID(c.ProjectID); err != nil {
		return Key{}, err
	}
	if utf8.RuneCountInString(c.Name) > maxName || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl) {
		return Key{}, apierror.Invalid("name", "name must be at most %d characters without control characters", maxName)
	}
	if key.Profile == "" {
		key.Profile = DefaultProfile
	}
	if !slices.Contains([]string{ProfileFree, ProfilePro, ProfileEnterprise}, key.Profile) {
		return Key{}, apierror.Invalid("profile", "profile must be free, pro or enterprise")
	}
	if c.RequestsPerMinute != nil {
		key.RequestsPerMinute = *c.RequestsPerMinute
	}
	if key.RequestsPerMinute < 0 || key.RequestsPerMinute > MaxRequestsPerMinute {
		return Key{}, apierror.Invalid("requests_per_minute", "requests_per_minute must be between 0 (no limit) and %d", MaxRequestsPerMinute)
	}
	if c.ExpiresAt != nil {
		at := c.ExpiresAt.UTC().Truncate(time.Microsecond)
		if !at.After(now) {
			return Key{}, apierror.Invalid("expires_at", "expires_at must be in the future")
		}
		key.ExpiresAt = &at
	}
	return key, nil
}

// CheckProjectID says what is wrong with a project id: an apierror.BadRequest
// with the parameter project_id, or nil.
func CheckProjectID(id string) error {
	if id == "" {
		return apierror.Invalid("project_id", "project_id is required")
	}
	foreign := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
	}
	if len(id) > maxProjectID || strings.ContainsFunc(id, foreign) {
		return apierror.Invalid("project_id", "project_id must be 1 to %d characters of A-Z a-z 0-9 . _ -", maxProjectID)
	}
	return nil
}

// List gives every key, also expired and revoked ones, the oldest first.
func (k *Keys) List(ctx context.Context) ([]Key, error) {
	keys, err := k.store.ListKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return keys, nil
}

// Revoke revokes the key that ref names: the whole key, its id, or its visible
// prefix where only one key has it. It returns the revoked key. Revoking a key
// twice is no error and keeps the first time. A ref that names none or several
// is an apierror.BadRequest around ErrNotFound or ErrAmbiguous.
func (k *Keys) Revoke(ctx context.Context, ref string) (Key, error) {
	key, err := k.find(ctx, ref)
	if err != nil {
		return Key{}, err
	}
	if key.RevokedAt != nil {
		return key, nil
	}
	at := k.now().UTC().Truncate(time.Microsecond)
	if err := k.store.RevokeKey(ctx, key.ID, at); err != nil {
		return Key{}, fmt.Errorf("revoke key: %w", err)
	}
	key.RevokedAt = &at
	return key, nil
}

func (k *Keys) find(ctx context.Context, ref string) (Key, error) {
	// The messages never repeat ref: it may be a whole key.
	notFound := &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "key", Message: "no such key", Cause: ErrNotFound,
	}
	if WellFormed(ref) {
		key, err := k.store.KeyByHash(ctx, HashOf(ref))
		if errors.Is(err, ErrNotFound) {
			return Key{}, notFound
		}
		if err != nil {
			return Key{}, fmt.Errorf("find key: %w", err)
		}
		return key, nil
	}
	keys, err := k.store.KeysByRef(ctx, ref)
	if err != nil {
		return Key{}, fmt.Errorf("find key: %w", err)
	}
	switch len(keys) {
	case 0:
		return Key{}, notFound
	case 1:
		return keys[0], nil
	}
	return Key{}, &apierror.Error{
		Category: apierror.BadRequest, Param: "key", Message: "several keys have this prefix: name the key by its id", Cause: ErrAmbiguous,
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: the program ends instead
	return hex.EncodeToString(b)
}
