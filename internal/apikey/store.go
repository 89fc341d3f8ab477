package apikey

import (
	"context"
	"errors"
	"time"

	"claude-code-api-service/internal/budget"
)

// Errors of a Store, for errors.Is.
var (
	// ErrNotFound says that no key or profile matches, or no project, which only
	// Keys returns.
	ErrNotFound = errors.New("no such key, profile or project")
	// ErrExists says that a key with the same id or hash is stored already.
	ErrExists = errors.New("key exists")
	// ErrAmbiguous says that a visible prefix belongs to several keys. Only Keys
	// returns it.
	ErrAmbiguous = errors.New("several keys have this prefix")
	// ErrInUse says that a key which isn't revoked has the profile.
	ErrInUse = errors.New("profile is in use")
	// ErrSpent says that something was spent in the project: budgets of another
	// time zone would begin in the middle of what was counted.
	ErrSpent = errors.New("the project has spent something")
)

// Store keeps accounts. It is safe for concurrent use, and other processes may
// change the same accounts at the same time. Each method is one transaction, and
// what it changed is durable on return. A Store checks nothing: Keys does.
type Store interface {
	// CreateKey stores a new key and its budgets, or ErrExists.
	CreateKey(ctx context.Context, key Key, hash Hash, budgets []budget.Limit) error
	// AccountByHash finds the account of a key by the hash of its text, or of its
	// former text; also of an expired or revoked key, and after FormerUntil. Its
	// budgets have no particular order. Or ErrNotFound.
	AccountByHash(ctx context.Context, hash Hash) (Account, error)
	// KeysByRef finds the keys whose id or visible prefix is ref; none is no
	// error.
	KeysByRef(ctx context.Context, ref string) ([]Key, error)
	// ListKeys gives every key, the oldest first.
	ListKeys(ctx context.Context) ([]Key, error)
	// UpdateKey sets name, profile, limits and expiry of the key with this id, or
	// ErrNotFound. Whatever else the key says is ignored.
	UpdateKey(ctx context.Context, key Key) error
	// RotateKey gives a key another text: the present hash becomes the former one,
	// in place of an older former one. ErrNotFound, or ErrExists when another key
	// has the hash.
	RotateKey(ctx context.Context, id, prefix string, hash Hash, formerUntil time.Time) error
	// RevokeKey marks a key as revoked, or ErrNotFound. A key that is revoked
	// already keeps its first time, without an error.
	RevokeKey(ctx context.Context, id string, at time.Time) error

	// Project gives a project; one that was never put has the zero settings.
	Project(ctx context.Context, id string) (Project, error)
	// PutProject sets a project's settings. It is ErrSpent when they change the
	// time zone of a project in which something was spent.
	PutProject(ctx context.Context, project Project) error
	// ListProjects gives every project that was put or has keys, by id.
	ListProjects(ctx context.Context) ([]Project, error)

	// PutProfile makes or changes a profile.
	PutProfile(ctx context.Context, profile Profile) error
	// DeleteProfile removes a profile: ErrInUse when a key that isn't revoked has
	// it, else ErrNotFound when there is none.
	DeleteProfile(ctx context.Context, name string) error
	// ListProfiles gives every profile that was put, by name.
	ListProfiles(ctx context.Context) ([]Profile, error)

	// SetBudget sets the budget of its owner, period and unit; one without a limit
	// is removed.
	SetBudget(ctx context.Context, limit budget.Limit) error
	// Budgets gives the budgets of an owner, in no particular order.
	Budgets(ctx context.Context, owner budget.Owner) ([]budget.Limit, error)
	// ListBudgets gives every budget, in no particular order.
	ListBudgets(ctx context.Context) ([]budget.Limit, error)

	// KeysVersion is a counter that every change of a key, project, profile or
	// budget raises, in the same transaction, whichever process makes it.
	KeysVersion(ctx context.Context) (int64, error)
}
