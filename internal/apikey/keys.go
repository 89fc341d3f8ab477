package apikey

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// Defaults of a new key.
const (
	// DefaultProfile is the middle one: it can read and use the limited tools,
	// and a forgotten flag doesn't hand out everything.
	DefaultProfile = ProfilePro
	// DefaultRequestsPerMinute is the service contract's.
	DefaultRequestsPerMinute = 100
)

// Options are what Keys needs.
type Options struct {
	Store Store
	// Changed, unless it is nil, hears of changes when they are stored. Its error
	// becomes that of the method that made them: they are there all the same.
	Changed func(ctx context.Context, changes []Change) error
	// Now gives the time; nil is time.Now.
	Now func() time.Time
}

// Keys makes and changes keys, projects, profiles and budgets. It is safe for
// concurrent use. What is wrong with a wish is an apierror.BadRequest that names
// the field, and nothing is changed then.
type Keys struct {
	store   Store
	changed func(ctx context.Context, changes []Change) error
	now     func() time.Time
}

// NewKeys makes the service over a store.
func NewKeys(options Options) *Keys {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Keys{options.Store, options.Changed, options.Now}
}

// moment is the present, as stores keep it.
func (k *Keys) moment() time.Time { return k.now().UTC().Truncate(time.Microsecond) }

// Create is what a new key shall be.
type Create struct {
	ProjectID string // 1 to 64 of A-Z a-z 0-9 . _ -
	Name      string // optional, at most 128 characters, none a control character
	Profile   string // a built-in or a custom one; "" is DefaultProfile
	// Admin makes a key that administers the service and generates nothing.
	Admin bool
	// RequestsPerMinute is the key's limit; nil is DefaultRequestsPerMinute and 0
	// is no limit.
	RequestsPerMinute  *int
	TokensPerMinute    int // 0: no limit
	ConcurrentRequests int // 0: no limit
	// Budgets are the key's. Their owner is filled in.
	Budgets   []budget.Limit
	ExpiresAt *time.Time // optional, in the future
	// Text is a key that callers have already, of the service that this one replaces;
	// "" makes a new one.
	Text string
}

// Create makes a key and stores it. The text is returned here and never again.
func (k *Keys) Create(ctx context.Context, wish Create) (text string, key Key, err error) {
	key = Key{
		ID: "key_" + randomHex(8), Name: wish.Name, ProjectID: wish.ProjectID, Profile: wish.Profile, Admin: wish.Admin,
		Limits: gateway.RateLimits{
			RequestsPerMinute: DefaultRequestsPerMinute, TokensPerMinute: wish.TokensPerMinute, ConcurrentRequests: wish.ConcurrentRequests,
		},
		CreatedAt: k.moment(),
	}
	if wish.RequestsPerMinute != nil {
		key.Limits.RequestsPerMinute = *wish.RequestsPerMinute
	}
	if key.Profile == "" {
		key.Profile = DefaultProfile
	}
	if err := CheckProjectID(key.ProjectID); err != nil {
		return "", Key{}, err
	}
	if err := k.setExpiry(&key, wish.ExpiresAt); err != nil {
		return "", Key{}, err
	}
	if err := k.check(ctx, key); err != nil {
		return "", Key{}, err
	}
	budgets, err := wish.budgets(key.ID)
	if err != nil {
		return "", Key{}, err
	}
	if text, err = k.textOf(ctx, wish); err != nil {
		return "", Key{}, err
	}
	key.Prefix = text[:visibleLength]
	if err := k.store.CreateKey(ctx, key, HashOf(text), budgets); err != nil {
		return "", Key{}, fmt.Errorf("create key: %w", err)
	}
	changes := []Change{{actionKeyCreated, key.ID, key.ProjectID, difference(Key{}, key)}}
	for _, limit := range budgets {
		if limit.Hard > 0 || limit.Soft > 0 {
			changes = append(changes, budgetChange(limit, key.ProjectID))
		}
	}
	if err := k.tell(ctx, changes...); err != nil {
		return "", Key{}, err
	}
	return text, key, nil
}

// textOf gives a new key its text. No error shows one.
func (k *Keys) textOf(ctx context.Context, wish Create) (string, error) {
	if wish.Text == "" {
		return randomText(), nil
	}
	if !WellFormed(wish.Text) {
		return "", apierror.Invalid("key", "key: not of the form cc_ and 40 hexadecimal digits in lower case")
	}
	switch _, err := k.byText(ctx, wish.Text); {
	case err == nil:
		return "", apierror.Invalid("key", "key: this one is known already")
	case !errors.Is(err, ErrNotFound):
		return "", err
	}
	return wish.Text, nil
}

// budgets gives the wish's budgets their owner.
func (c Create) budgets(keyID string) ([]budget.Limit, error) {
	if c.Admin && len(c.Budgets) > 0 {
		return nil, apierror.Invalid("budget", "budget: an admin key generates nothing and has no budgets")
	}
	type place struct {
		period budget.Period
		unit   budget.Unit
	}
	taken := map[place]bool{}
	budgets := make([]budget.Limit, 0, len(c.Budgets))
	for _, limit := range c.Budgets {
		limit.Owner = budget.Owner{Kind: budget.Key, ID: keyID}
		if err := checkBudget(limit); err != nil {
			return nil, err
		}
		if at := (place{limit.Period, limit.Unit}); taken[at] {
			return nil, apierror.Invalid("budget", "budget: there are two in %s for each %s", limit.Unit, limit.Period)
		}
		taken[place{limit.Period, limit.Unit}] = true
		budgets = append(budgets, limit)
	}
	return budgets, nil
}

// check says what is wrong with what may be chosen of a key.
func (k *Keys) check(ctx context.Context, key Key) error {
	if err := checkName(key.Name); err != nil {
		return err
	}
	if err := checkLimits(key.Limits); err != nil {
		return err
	}
	if _, err := k.Profile(ctx, key.Profile); errors.Is(err, ErrNotFound) {
		return apierror.Invalid("profile", "profile must be free, pro, enterprise or a profile that was made before")
	} else if err != nil {
		return err
	}
	return nil
}

// setExpiry sets when the key expires: at a moment in the future, or never.
func (k *Keys) setExpiry(key *Key, at *time.Time) error {
	key.ExpiresAt = nil
	if at == nil {
		return nil
	}
	expires := at.UTC().Truncate(time.Microsecond)
	if !expires.After(k.moment()) {
		return apierror.Invalid("expires_at", "expires_at must be in the future")
	}
	key.ExpiresAt = &expires
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

// Update is what shall change of a key; nil leaves it.
type Update struct {
	Name, Profile      *string
	RequestsPerMinute  *int // 0: no limit
	TokensPerMinute    *int
	ConcurrentRequests *int
	ExpiresAt          *time.Time // in the future; the zero time: never
}

// Update changes a key, which ref names as in Find, and gives what it is then.
func (k *Keys) Update(ctx context.Context, ref string, wish Update) (Key, error) {
	key, err := k.usable(ctx, ref)
	if err != nil {
		return Key{}, err
	}
	before := key
	set(&key.Name, wish.Name)
	set(&key.Profile, wish.Profile)
	set(&key.Limits.RequestsPerMinute, wish.RequestsPerMinute)
	set(&key.Limits.TokensPerMinute, wish.TokensPerMinute)
	set(&key.Limits.ConcurrentRequests, wish.ConcurrentRequests)
	if at := wish.ExpiresAt; at != nil {
		if at.IsZero() {
			at = nil
		}
		if err := k.setExpiry(&key, at); err != nil {
			return Key{}, err
		}
	}
	if err := k.check(ctx, key); err != nil {
		return Key{}, err
	}
	if err := k.store.UpdateKey(ctx, key); err != nil {
		return Key{}, fmt.Errorf("update key: %w", err)
	}
	if what := difference(before, key); what != "" {
		if err := k.tell(ctx, Change{actionKeyUpdated, key.ID, key.ProjectID, what}); err != nil {
			return Key{}, err
		}
	}
	return key, nil
}

func set[T any](field *T, wish *T) {
	if wish != nil {
		*field = *wish
	}
}

// Rotate gives a key, which ref names as in Find, another text, returned here and
// never again. The present text is taken too until grace has passed, at most
// MaxGrace; with 0 it is refused as soon as a revoked one would be. A text from
// an earlier rotation ends at once.
func (k *Keys) Rotate(ctx context.Context, ref string, grace time.Duration) (text string, key Key, err error) {
	if grace < 0 || grace > MaxGrace {
		return "", Key{}, apierror.Invalid("grace", "grace must be between 0 and %d hours", int(MaxGrace/time.Hour))
	}
	if key, err = k.usable(ctx, ref); err != nil {
		return "", Key{}, err
	}
	until := k.moment().Add(grace.Truncate(time.Microsecond))
	text = randomText()
	key.Prefix, key.FormerUntil = text[:visibleLength], &until
	if err := k.store.RotateKey(ctx, key.ID, key.Prefix, HashOf(text), until); err != nil {
		return "", Key{}, fmt.Errorf("rotate key: %w", err)
	}
	if err := k.tell(ctx, Change{actionKeyRotated, key.ID, key.ProjectID, "the former text is taken until " + moment(&until)}); err != nil {
		return "", Key{}, err
	}
	return text, key, nil
}

// Revoke revokes a key, which ref names as in Find, and gives it. Revoking a key
// twice is no error and keeps the first time.
func (k *Keys) Revoke(ctx context.Context, ref string) (Key, error) {
	key, err := k.find(ctx, ref)
	if err != nil || key.RevokedAt != nil {
		return key, err
	}
	at := k.moment()
	if err := k.store.RevokeKey(ctx, key.ID, at); err != nil {
		return Key{}, fmt.Errorf("revoke key: %w", err)
	}
	key.RevokedAt = &at
	return key, k.tell(ctx, Change{Action: actionKeyRevoked, Target: key.ID, Project: key.ProjectID})
}

func randomText() string { return textPrefix + randomHex(randomBytes) }

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: the program ends instead
	return hex.EncodeToString(b)
}
