// Package storetest holds what every store must do, as one suite for each
// interface. Each implementation's tests run them.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
)

// start is a time with a microsecond part, in UTC: what stores keep exactly.
var start = time.Date(2026, 3, 1, 12, 30, 15, 123456000, time.UTC)

func sampleKey(n int) (apikey.Key, apikey.Hash) {
	return apikey.Key{
		ID: fmt.Sprintf("key_%016d", n), Prefix: fmt.Sprintf("cc_%08d", n), Name: fmt.Sprintf("Schlüssel %d '\"", n),
		ProjectID: "alpha", Profile: apikey.ProfilePro, RequestsPerMinute: 100 + n, CreatedAt: start.Add(time.Duration(n) * time.Second),
	}, apikey.Hash(sha256.Sum256(fmt.Append(nil, n)))
}

func mustCreate(t *testing.T, s apikey.Store, key apikey.Key, hash apikey.Hash) {
	t.Helper()
	if err := s.CreateKey(t.Context(), key, hash); err != nil {
		t.Fatalf("CreateKey(%s): %v", key.ID, err)
	}
}

func version(t *testing.T, s apikey.Store) int64 {
	t.Helper()
	v, err := s.KeysVersion(t.Context())
	if err != nil {
		t.Fatalf("KeysVersion: %v", err)
	}
	return v
}

// TestKeys checks an apikey.Store. open gives a new, empty store each time and
// sees to its end.
func TestKeys(t *testing.T, open func(t *testing.T) apikey.Store) {
	t.Run("a key comes back as it was stored", func(t *testing.T) {
		s := open(t)
		expires, revoked := start.Add(time.Hour), start.Add(time.Minute)
		plain, plainHash := sampleKey(1)
		full, fullHash := sampleKey(2)
		full.ExpiresAt, full.RevokedAt, full.RequestsPerMinute, full.Name = &expires, &revoked, 0, ""
		mustCreate(t, s, full, fullHash)
		mustCreate(t, s, plain, plainHash)
		for _, c := range []struct {
			hash apikey.Hash
			want apikey.Key
		}{{plainHash, plain}, {fullHash, full}} {
			got, err := s.KeyByHash(t.Context(), c.hash)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("KeyByHash = %+v, %v; want %+v", got, err, c.want)
			}
		}
		list, err := s.ListKeys(t.Context())
		if want := []apikey.Key{plain, full}; err != nil || !reflect.DeepEqual(list, want) {
			t.Errorf("ListKeys = %+v, %v; want the oldest first: %+v", list, err, want)
		}
	})

	t.Run("an unknown key", func(t *testing.T) {
		s := open(t)
		_, hash := sampleKey(1)
		if _, err := s.KeyByHash(t.Context(), hash); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("KeyByHash = %v, want ErrNotFound", err)
		}
		if err := s.RevokeKey(t.Context(), "key_none", start); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("RevokeKey = %v, want ErrNotFound", err)
		}
		if keys, err := s.KeysByRef(t.Context(), "cc_00000001"); err != nil || len(keys) != 0 {
			t.Errorf("KeysByRef = %v, %v; want none", keys, err)
		}
		if keys, err := s.ListKeys(t.Context()); err != nil || len(keys) != 0 {
			t.Errorf("ListKeys = %v, %v; want none", keys, err)
		}
	})

	t.Run("an id or a hash is taken once", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		other, otherHash := sampleKey(2)
		mustCreate(t, s, key, hash)
		before := version(t, s)
		if err := s.CreateKey(t.Context(), key, otherHash); !errors.Is(err, apikey.ErrExists) {
			t.Errorf("same id: %v, want ErrExists", err)
		}
		if err := s.CreateKey(t.Context(), other, hash); !errors.Is(err, apikey.ErrExists) {
			t.Errorf("same hash: %v, want ErrExists", err)
		}
		if after := version(t, s); after != before {
			t.Errorf("version went from %d to %d although nothing changed", before, after)
		}
	})

	t.Run("keys by id and by prefix", func(t *testing.T) {
		s := open(t)
		one, oneHash := sampleKey(1)
		two, twoHash := sampleKey(2)
		two.Prefix = one.Prefix
		mustCreate(t, s, one, oneHash)
		mustCreate(t, s, two, twoHash)
		if got, err := s.KeysByRef(t.Context(), two.ID); err != nil || !reflect.DeepEqual(got, []apikey.Key{two}) {
			t.Errorf("by id: %+v, %v", got, err)
		}
		if got, err := s.KeysByRef(t.Context(), one.Prefix); err != nil || len(got) != 2 {
			t.Errorf("by a shared prefix: %+v, %v; want both", got, err)
		}
		if got, err := s.KeysByRef(t.Context(), one.Prefix[:5]); err != nil || len(got) != 0 {
			t.Errorf("by a part of the prefix: %+v, %v; want none", got, err)
		}
	})

	t.Run("a revocation keeps its first time", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		mustCreate(t, s, key, hash)
		at := start.Add(time.Hour)
		for _, when := range []time.Time{at, at.Add(time.Hour)} {
			if err := s.RevokeKey(t.Context(), key.ID, when); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.KeyByHash(t.Context(), hash)
		if err != nil || got.RevokedAt == nil || !got.RevokedAt.Equal(at) {
			t.Errorf("key is %+v, %v; want it revoked at %v", got, err, at)
		}
	})

	t.Run("every change raises the version", func(t *testing.T) {
		s := open(t)
		last := version(t, s)
		rose := func(what string) {
			t.Helper()
			now := version(t, s)
			if now <= last {
				t.Errorf("%s: version %d after %d", what, now, last)
			}
			last = now
		}
		key, hash := sampleKey(1)
		mustCreate(t, s, key, hash)
		rose("create")
		if err := s.RevokeKey(t.Context(), key.ID, start); err != nil {
			t.Fatal(err)
		}
		rose("revoke")
		if now := version(t, s); now != last {
			t.Errorf("version rose from %d to %d by itself", last, now)
		}
	})

	t.Run("many writers and readers at once", func(t *testing.T) {
		s := open(t)
		const n = 40
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				key, hash := sampleKey(i)
				if err := s.CreateKey(t.Context(), key, hash); err != nil {
					t.Errorf("create %d: %v", i, err)
					return
				}
				if got, err := s.KeyByHash(t.Context(), hash); err != nil || got.ID != key.ID {
					t.Errorf("read %d: %+v, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		if keys, err := s.ListKeys(t.Context()); err != nil || len(keys) != n {
			t.Errorf("%d keys, %v; want %d", len(keys), err, n)
		}
	})

	t.Run("an ended context", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		key, hash := sampleKey(1)
		if err := s.CreateKey(ctx, key, hash); !errors.Is(err, context.Canceled) {
			t.Errorf("CreateKey = %v, want context.Canceled", err)
		}
		if _, err := s.KeyByHash(ctx, hash); !errors.Is(err, context.Canceled) {
			t.Errorf("KeyByHash = %v, want context.Canceled", err)
		}
	})
}
