package apikey

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// The rhythm of Watch. A revocation holds after at most DefaultInterval +
// versionTimeout, which keeps the contract's second with room for the look-up.
const (
	DefaultInterval = 250 * time.Millisecond
	versionTimeout  = 500 * time.Millisecond
)

// Channel is where a database that nodes share tells that accounts have changed. Whoever
// hears it calls Look.
const Channel = "claude_api_keys"

// AuthenticatorOptions are what an Authenticator needs.
type AuthenticatorOptions struct {
	Store Store
	// Interval is how often Watch asks whether keys changed; 0 is
	// DefaultInterval.
	Interval time.Duration
	// Logger hears when the store can't be asked and when it can again; nil is
	// silent.
	Logger *slog.Logger
	// Now gives the time, for expiry; nil is time.Now.
	Now func() time.Time
}

// Authenticator finds the caller of a presented key. Keys that were seen are
// answered from memory without I/O or a lock; Watch keeps that memory true. It
// is a gateway.Authenticator and safe for concurrent use.
//
// Keys are looked up by their SHA-256, in memory as in the store. How long a
// look-up takes tells nothing about a stored key: whoever presents keys can't
// choose their hashes byte by byte, and no text is kept to compare with. The hash
// that was found is held against the presented one in constant time all the same,
// so that this doesn't rest on how a map or a database compares.
type Authenticator struct {
	store    Store
	interval time.Duration
	logger   *slog.Logger
	now      func() time.Time

	// known is dropped as a whole. A look-up stores its answer into the map that
	// was there before it asked, so an answer that a change overtook goes into a
	// map that nobody reads any more.
	known    atomic.Pointer[sync.Map] // Hash → *known
	attempts *attempts
	look     chan struct{} // holds one when Watch is to look now
}

// known is a stored account and its caller. Only keys that the store has are
// remembered, so made-up keys can't fill the memory, and a key made a moment ago
// works at once.
type known struct {
	account Account
	caller  *gateway.Caller
	// lasts says that nothing stands in the key's way, now or later: no clock need
	// be asked.
	lasts bool
}

var _ gateway.Authenticator = (*Authenticator)(nil)

// NewAuthenticator makes an Authenticator. Without a running Watch it doesn't
// notice that a key it knows was revoked.
func NewAuthenticator(options AuthenticatorOptions) *Authenticator {
	a := &Authenticator{store: options.Store, interval: options.Interval, logger: options.Logger, now: options.Now, attempts: newAttempts(), look: make(chan struct{}, 1)}
	if a.interval <= 0 {
		a.interval = DefaultInterval
	}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.known.Store(new(sync.Map))
	return a
}

// Authenticate gives the caller of a key. A key that is missing, malformed,
// unknown, expired or revoked is an apierror.AuthError with the code
// CodeInvalidKey; beside the error is the caller whose key an expired, revoked or
// replaced one was. When the store fails it is apierror.Overloaded: the key may well
// be good.
//
// The address is where the key came from, without a port. When many keys from it
// were refused, further refusals wait, at most some seconds or until ctx ends, or
// become an apierror.RateLimited. A key that is good never waits, whatever its
// address did: many callers may share one proxy's.
func (a *Authenticator) Authenticate(ctx context.Context, key, address string) (*gateway.Caller, error) {
	caller, err := a.find(ctx, key)
	if err == nil || key == "" {
		return caller, err // without a key nothing was tried
	}
	var e *apierror.Error
	if errors.As(err, &e) && e.Category == apierror.AuthError {
		err = a.Slow(ctx, address, err)
	}
	return caller, err
}

// Slow counts a refusal of what else stands for a key, such as a cookie, with those of keys
// from its address, and holds it back as theirs are.
func (a *Authenticator) Slow(ctx context.Context, address string, refusal error) error {
	return a.attempts.refuse(ctx, address, refusal)
}

func (a *Authenticator) find(ctx context.Context, key string) (*gateway.Caller, error) {
	if err := checkForm(key); err != nil {
		return nil, err
	}
	hash := HashOf(key)
	generation := a.known.Load()
	if found, ok := generation.Load(hash); ok {
		return a.check(found.(*known), hash)
	}
	account, err := a.store.AccountByHash(ctx, hash)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, refuseUnknown()
	case err != nil && ctx.Err() != nil:
		return nil, apierror.Wrap(apierror.ClientClosed, "the caller left", err)
	case err != nil:
		return nil, unchecked(err)
	}
	account.complete()
	caller, err := callerOf(&account)
	if err != nil {
		return nil, unchecked(err)
	}
	found := &known{account, caller, account.lasts()}
	generation.Store(hash, found)
	return a.check(found, hash)
}

func (a *Authenticator) check(k *known, presented Hash) (*gateway.Caller, error) {
	if subtle.ConstantTimeCompare(k.account.Hash[:], presented[:]) != 1 {
		return nil, refuseUnknown()
	}
	if k.lasts {
		return k.caller, nil
	}
	return k.caller, k.account.refusal(a.now())
}

// callerOf gives what the other rooms know of an account. An error says that this
// machine doesn't know the project's time zone: its budgets can't be counted.
func callerOf(a *Account) (*gateway.Caller, error) {
	zone, err := time.LoadLocation(a.Project.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time zone of project %s: %w", a.Project.ID, err)
	}
	return &gateway.Caller{
		KeyID: a.Key.ID, ProjectID: a.Key.ProjectID, Profile: a.Key.Profile, Permissions: a.Profile.Permissions, Admin: a.Key.Admin,
		Key: a.Key.Limits, Project: a.Project.Limits, Budgets: a.Budgets, Location: zone,
	}, nil
}

// checkForm refuses what can't be a key.
func checkForm(text string) error {
	switch {
	case text == "":
		return refuse("missing API key: send x-api-key or Authorization: Bearer")
	case !WellFormed(text):
		return refuseUnknown()
	}
	return nil
}

func refuseUnknown() error { return refuse("invalid API key") }

func refuse(message string) error {
	return &apierror.Error{Category: apierror.AuthError, Code: apierror.CodeInvalidKey, Message: message}
}

// unchecked says that the service couldn't find out: the key may well be good.
func unchecked(cause error) error {
	return &apierror.Error{
		Category: apierror.Overloaded, Message: "the API key can't be checked at the moment", RetryAfter: time.Second, Cause: cause,
	}
}

// Watch forgets the known keys whenever an account changed, in this process or
// another, until ctx ends: it asks every Interval, after each Look, and often while the store fails. While the store can't say whether keys changed,
// every answer is forgotten: an unnoticed revocation would be worse than a
// look-up. Run it once, in its own goroutine.
func (a *Authenticator) Watch(ctx context.Context) {
	ticker := time.NewTicker(a.interval)
	defer ticker.Stop()
	var last int64
	first, failing := true, false
	for {
		version, err := a.version(ctx)
		if ctx.Err() != nil {
			return
		}
		if first || err != nil || version != last {
			a.known.Store(new(sync.Map))
		}
		if err == nil {
			first, last = false, version
		}
		if failed := err != nil; failed != failing {
			failing = failed
			if failing {
				ticker.Reset(min(a.interval, DefaultInterval))
				a.logger.LogAttrs(ctx, slog.LevelError, "changes of keys can't be read: keys are looked up at every request", slog.Any("error", err))
			} else {
				ticker.Reset(a.interval)
				a.logger.LogAttrs(ctx, slog.LevelInfo, "changes of keys can be read again")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-a.look:
		}
	}
}

// Look has Watch ask at once whether accounts changed, for somebody has heard so. It
// doesn't wait.
func (a *Authenticator) Look() {
	select {
	case a.look <- struct{}{}:
	default: // it is going to
	}
}

func (a *Authenticator) version(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	return a.store.KeysVersion(ctx)
}
