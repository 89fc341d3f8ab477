package apikey_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Store that counts look-ups and can be made to fail. What a real one
// must do besides is storetest's.
type memory struct {
	mu       sync.Mutex
	keys     map[apikey.Hash]apikey.Key
	former   map[apikey.Hash]apikey.Hash // to the present one
	projects map[string]apikey.Project
	profiles map[string]apikey.Profile
	limits   map[budget.Limit]budget.Limit // by owner, period and unit
	spent    map[string]bool               // by project
	version  int64
	lookups  int
	err      error
	// during runs in the middle of a look-up: what was read isn't returned yet.
	during func()
}

var _ apikey.Store = (*memory)(nil)

func newMemory() *memory {
	return &memory{
		keys: map[apikey.Hash]apikey.Key{}, former: map[apikey.Hash]apikey.Hash{}, projects: map[string]apikey.Project{},
		profiles: map[string]apikey.Profile{}, limits: map[budget.Limit]budget.Limit{}, spent: map[string]bool{},
	}
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) lookedUp() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lookups
}

// change runs under the lock and counts as a change unless it fails.
func (m *memory) change(do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if err := do(); err != nil {
		return err
	}
	m.version++
	return nil
}

// edit changes the key with an id.
func (m *memory) edit(id string, do func(hash apikey.Hash, key apikey.Key)) error {
	return m.change(func() error {
		for hash, key := range m.keys {
			if key.ID == id {
				do(hash, key)
				return nil
			}
		}
		return apikey.ErrNotFound
	})
}

func (m *memory) CreateKey(_ context.Context, key apikey.Key, hash apikey.Hash, budgets []budget.Limit) error {
	return m.change(func() error {
		m.keys[hash] = key
		for _, limit := range budgets {
			m.set(limit)
		}
		return nil
	})
}

func (m *memory) AccountByHash(ctx context.Context, hash apikey.Hash) (apikey.Account, error) {
	account, ok, err := m.account(hash)
	if m.during != nil {
		m.during()
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return apikey.Account{}, err
	}
	if !ok {
		return apikey.Account{}, apikey.ErrNotFound
	}
	return account, nil
}

func (m *memory) account(hash apikey.Hash) (apikey.Account, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookups++
	a := apikey.Account{Hash: hash}
	present, former := m.former[hash]
	if !former {
		present = hash
	}
	key, ok := m.keys[present]
	a.Key, a.Former, a.Profile, a.Project = key, former, m.profiles[key.Profile], m.projects[key.ProjectID]
	a.Project.ID = key.ProjectID
	for _, limit := range m.limits {
		if limit.Owner == (budget.Owner{Kind: budget.Key, ID: key.ID}) || limit.Owner == (budget.Owner{Kind: budget.Project, ID: key.ProjectID}) {
			a.Budgets = append(a.Budgets, limit)
		}
	}
	return a, ok, m.err
}

func (m *memory) KeysByRef(_ context.Context, ref string) ([]apikey.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []apikey.Key
	for _, key := range m.keys {
		if key.ID == ref || key.Prefix == ref {
			keys = append(keys, key)
		}
	}
	return keys, m.err
}

func (m *memory) ListKeys(context.Context) ([]apikey.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.keys)), m.err
}

func (m *memory) UpdateKey(_ context.Context, key apikey.Key) error {
	return m.edit(key.ID, func(hash apikey.Hash, stored apikey.Key) {
		stored.Name, stored.Profile, stored.Limits, stored.ExpiresAt = key.Name, key.Profile, key.Limits, key.ExpiresAt
		m.keys[hash] = stored
	})
}

func (m *memory) RotateKey(_ context.Context, id, prefix string, hash apikey.Hash, formerUntil time.Time) error {
	return m.edit(id, func(present apikey.Hash, key apikey.Key) {
		maps.DeleteFunc(m.former, func(_, of apikey.Hash) bool { return of == present })
		delete(m.keys, present)
		key.Prefix, key.FormerUntil = prefix, &formerUntil
		m.keys[hash], m.former[present] = key, hash
	})
}

func (m *memory) RevokeKey(_ context.Context, id string, at time.Time) error {
	return m.edit(id, func(hash apikey.Hash, key apikey.Key) {
		key.RevokedAt = &at
		m.keys[hash] = key
	})
}

func (m *memory) Project(_ context.Context, id string) (apikey.Project, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	project := m.projects[id]
	project.ID = id
	return project, m.err
}

func (m *memory) PutProject(_ context.Context, project apikey.Project) error {
	return m.change(func() error {
		if m.spent[project.ID] && m.projects[project.ID].TimeZone != project.TimeZone {
			return apikey.ErrSpent
		}
		m.projects[project.ID] = project
		return nil
	})
}

func (m *memory) ListProjects(context.Context) ([]apikey.Project, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	projects := maps.Clone(m.projects)
	for _, key := range m.keys {
		if _, ok := projects[key.ProjectID]; !ok {
			projects[key.ProjectID] = apikey.Project{ID: key.ProjectID}
		}
	}
	return slices.Collect(maps.Values(projects)), m.err
}

func (m *memory) PutProfile(_ context.Context, profile apikey.Profile) error {
	return m.change(func() error { m.profiles[profile.Name] = profile; return nil })
}

func (m *memory) DeleteProfile(_ context.Context, name string) error {
	return m.change(func() error {
		for _, key := range m.keys {
			if key.Profile == name && key.RevokedAt == nil {
				return apikey.ErrInUse
			}
		}
		if _, ok := m.profiles[name]; !ok {
			return apikey.ErrNotFound
		}
		delete(m.profiles, name)
		return nil
	})
}

func (m *memory) ListProfiles(context.Context) ([]apikey.Profile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.profiles), func(a, b apikey.Profile) int { return strings.Compare(a.Name, b.Name) }), m.err
}

func (m *memory) set(limit budget.Limit) {
	place := budget.Limit{Owner: limit.Owner, Period: limit.Period, Unit: limit.Unit}
	if m.limits[place] = limit; limit == place {
		delete(m.limits, place)
	}
}

func (m *memory) SetBudget(_ context.Context, limit budget.Limit) error {
	return m.change(func() error { m.set(limit); return nil })
}

func (m *memory) Budgets(ctx context.Context, owner budget.Owner) ([]budget.Limit, error) {
	all, err := m.ListBudgets(ctx)
	return slices.DeleteFunc(all, func(l budget.Limit) bool { return l.Owner != owner }), err
}

func (m *memory) ListBudgets(context.Context) ([]budget.Limit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.limits)), m.err
}

func (m *memory) KeysVersion(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version, m.err
}
