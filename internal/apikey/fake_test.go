package apikey_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/apikey"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Store that counts look-ups and can be made to fail.
type memory struct {
	mu      sync.Mutex
	keys    map[apikey.Hash]apikey.Key
	version int64
	lookups int
	err     error
	// during runs in the middle of a look-up: what was read isn't returned yet.
	during func()
}

func newMemory() *memory { return &memory{keys: map[apikey.Hash]apikey.Key{}} }

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) CreateKey(_ context.Context, key apikey.Key, hash apikey.Hash) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.keys[hash] = key
	m.version++
	return nil
}

func (m *memory) KeyByHash(ctx context.Context, hash apikey.Hash) (apikey.Key, error) {
	m.mu.Lock()
	m.lookups++
	key, ok := m.keys[hash]
	err, during := m.err, m.during
	m.mu.Unlock()
	if during != nil {
		during()
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return apikey.Key{}, err
	}
	if !ok {
		return apikey.Key{}, apikey.ErrNotFound
	}
	return key, nil
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
	var keys []apikey.Key
	for _, key := range m.keys {
		keys = append(keys, key)
	}
	return keys, m.err
}

func (m *memory) RevokeKey(_ context.Context, id string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for hash, key := range m.keys {
		if key.ID == id {
			key.RevokedAt = &at
			m.keys[hash] = key
			m.version++
			return m.err
		}
	}
	return apikey.ErrNotFound
}

func (m *memory) KeysVersion(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version, m.err
}

func (m *memory) lookedUp() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lookups
}
