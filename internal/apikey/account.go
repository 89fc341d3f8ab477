package apikey

import (
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// Project is what the keys of one project share. It needn't be made before its
// first key: until something is set, it has the zero settings.
type Project struct {
	ID string
	// TimeZone is an IANA name, in which the periods of the project's budgets and
	// of those of its keys begin; "" is UTC.
	TimeZone string
	Limits   gateway.RateLimits // of all its keys together
}

// Account is all that a request needs to know of the key that it presents.
type Account struct {
	Key     Key
	Project Project
	// Profile is the key's. A Store gives the zero Profile for one that it doesn't
	// have: a built-in one, or none at all.
	Profile Profile
	Budgets []budget.Limit // of the key and of its project
	// Hash is the stored one that was found: of the key's text, or of its former
	// text.
	Hash Hash
	// Former says that the text before the key's last rotation was presented.
	Former bool
}

// complete gives the account its built-in profile, if that is what the key names.
// A profile that nobody has keeps its name and permits nothing.
func (a *Account) complete() {
	if profile, ok := builtIn(a.Key.Profile); ok {
		a.Profile = profile
	}
	a.Profile.Name = a.Key.Profile
}

// refusal says why the account's key can't be used at a moment, nil when it can.
func (a *Account) refusal(now time.Time) error {
	switch k := &a.Key; {
	case k.RevokedAt != nil:
		return refuse("the API key was revoked")
	case k.ExpiresAt != nil && !now.Before(*k.ExpiresAt):
		return refuse("the API key has expired")
	case a.Former && (k.FormerUntil == nil || !now.Before(*k.FormerUntil)):
		return refuse("the API key was replaced by a newer one")
	}
	return nil
}

// lasts says that no moment will come at which the key can't be used any more,
// short of a change.
func (a *Account) lasts() bool {
	return a.Key.RevokedAt == nil && a.Key.ExpiresAt == nil && !a.Former
}
