// Package storetest holds what every store must do, as one suite for each
// interface. Each implementation's tests run them.
package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// start is a time with a microsecond part, in UTC: what stores keep exactly.
var start = time.Date(2026, 3, 1, 12, 30, 15, 123456000, time.UTC)

func sampleKey(n int) (apikey.Key, apikey.Hash) {
	return apikey.Key{
		ID: fmt.Sprintf("key_%016d", n), Prefix: fmt.Sprintf("cc_%08d", n), Name: fmt.Sprintf("Schlüssel %d '\"", n),
		ProjectID: "alpha", Profile: apikey.ProfilePro,
		Limits:    gateway.RateLimits{RequestsPerMinute: 100 + n, TokensPerMinute: 1000 + n, ConcurrentRequests: 10 + n},
		CreatedAt: start.Add(time.Duration(n) * time.Second),
	}, sampleHash(n)
}

func sampleHash(n int) apikey.Hash { return sha256.Sum256(fmt.Append(nil, n)) }

func mustCreate(t *testing.T, s apikey.Store, key apikey.Key, hash apikey.Hash, budgets ...budget.Limit) {
	t.Helper()
	if err := s.CreateKey(t.Context(), key, hash, budgets); err != nil {
		t.Fatalf("CreateKey(%s): %v", key.ID, err)
	}
}

func mustFind(t *testing.T, s apikey.Store, hash apikey.Hash) apikey.Account {
	t.Helper()
	account, err := s.AccountByHash(t.Context(), hash)
	if err != nil {
		t.Fatalf("AccountByHash: %v", err)
	}
	return account
}

func version(t *testing.T, s apikey.Store) int64 {
	t.Helper()
	v, err := s.KeysVersion(t.Context())
	if err != nil {
		t.Fatalf("KeysVersion: %v", err)
	}
	return v
}

// TestKeys checks the keys of an apikey.Store. open gives a new, empty store each
// time and sees to its end.
func TestKeys(t *testing.T, open func(t *testing.T) apikey.Store) {
	t.Run("a key comes back as it was stored", func(t *testing.T) {
		s := open(t)
		expires, revoked, former := start.Add(time.Hour), start.Add(time.Minute), start.Add(time.Second)
		plain, plainHash := sampleKey(1)
		full, fullHash := sampleKey(2)
		full.ExpiresAt, full.RevokedAt, full.FormerUntil, full.Admin = &expires, &revoked, &former, true
		full.Limits, full.Name = gateway.RateLimits{}, ""
		mustCreate(t, s, full, fullHash)
		mustCreate(t, s, plain, plainHash)
		for _, c := range []struct {
			hash apikey.Hash
			want apikey.Key
		}{{plainHash, plain}, {fullHash, full}} {
			want := apikey.Account{Key: c.want, Project: apikey.Project{ID: "alpha"}, Hash: c.hash}
			if got := mustFind(t, s, c.hash); !reflect.DeepEqual(got, want) {
				t.Errorf("AccountByHash = %+v; want %+v", got, want)
			}
		}
		list, err := s.ListKeys(t.Context())
		if want := []apikey.Key{plain, full}; err != nil || !reflect.DeepEqual(list, want) {
			t.Errorf("ListKeys = %+v, %v; want the oldest first: %+v", list, err, want)
		}
	})

	t.Run("an unknown key", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		if _, err := s.AccountByHash(t.Context(), hash); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("AccountByHash = %v, want ErrNotFound", err)
		}
		for name, err := range map[string]error{
			"UpdateKey": s.UpdateKey(t.Context(), key),
			"RotateKey": s.RotateKey(t.Context(), key.ID, key.Prefix, hash, start),
			"RevokeKey": s.RevokeKey(t.Context(), key.ID, start),
		} {
			if !errors.Is(err, apikey.ErrNotFound) {
				t.Errorf("%s = %v, want ErrNotFound", name, err)
			}
		}
		if keys, err := s.KeysByRef(t.Context(), key.Prefix); err != nil || len(keys) != 0 {
			t.Errorf("KeysByRef = %v, %v; want none", keys, err)
		}
		if keys, err := s.ListKeys(t.Context()); err != nil || len(keys) != 0 {
			t.Errorf("ListKeys = %v, %v; want none", keys, err)
		}
		if v := version(t, s); v != 0 {
			t.Errorf("version is %d although nothing changed", v)
		}
	})

	t.Run("an id or a hash is taken once", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		other, otherHash := sampleKey(2)
		third, thirdHash := sampleKey(3)
		mustCreate(t, s, key, hash)
		mustCreate(t, s, third, thirdHash)
		before := version(t, s)
		limit := budget.Limit{Owner: budget.Owner{Kind: budget.Key, ID: key.ID}, Period: budget.Day, Unit: budget.Tokens, Hard: 1}
		for name, err := range map[string]error{
			"same id":             s.CreateKey(t.Context(), key, otherHash, []budget.Limit{limit}),
			"same hash":           s.CreateKey(t.Context(), other, hash, nil),
			"rotated to the same": s.RotateKey(t.Context(), third.ID, "cc_x", hash, start),
		} {
			if !errors.Is(err, apikey.ErrExists) {
				t.Errorf("%s: %v, want ErrExists", name, err)
			}
		}
		if after := version(t, s); after != before {
			t.Errorf("version went from %d to %d although nothing changed", before, after)
		}
		if got := mustFind(t, s, hash); len(got.Budgets) != 0 {
			t.Errorf("the key that was refused left a budget: %+v", got.Budgets)
		}
		if got := mustFind(t, s, thirdHash); !reflect.DeepEqual(got.Key, third) {
			t.Errorf("the rotation that was refused left %+v", got.Key)
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

	t.Run("an update changes what may be chosen and nothing else", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		other, otherHash := sampleKey(2)
		mustCreate(t, s, key, hash)
		mustCreate(t, s, other, otherHash)
		expires := start.Add(time.Hour)
		wish := apikey.Key{
			ID: key.ID, Prefix: "cc_other", Name: "neu", ProjectID: "beta", Profile: "custom", Admin: true, CreatedAt: expires,
			Limits: gateway.RateLimits{RequestsPerMinute: 7, TokensPerMinute: 8, ConcurrentRequests: 9}, ExpiresAt: &expires, RevokedAt: &expires,
		}
		want := key
		want.Name, want.Profile, want.Limits, want.ExpiresAt = wish.Name, wish.Profile, wish.Limits, wish.ExpiresAt
		if err := s.UpdateKey(t.Context(), wish); err != nil {
			t.Fatal(err)
		}
		if got := mustFind(t, s, hash); !reflect.DeepEqual(got.Key, want) {
			t.Errorf("key is %+v, want %+v", got.Key, want)
		}
		if got := mustFind(t, s, otherHash); !reflect.DeepEqual(got.Key, other) {
			t.Errorf("another key is %+v, want %+v", got.Key, other)
		}
		if err := s.UpdateKey(t.Context(), key); err != nil { // also back to none
			t.Fatal(err)
		}
		if got := mustFind(t, s, hash); !reflect.DeepEqual(got.Key, key) {
			t.Errorf("key is %+v, want %+v", got.Key, key)
		}
	})

	t.Run("a rotation keeps the present text as the former one", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		mustCreate(t, s, key, hash)
		last := hash
		for n := 2; n <= 3; n++ {
			next, until := sampleHash(n), start.Add(time.Duration(n)*time.Hour)
			want := key
			want.Prefix, want.FormerUntil = fmt.Sprintf("cc_%08d", n), &until
			if err := s.RotateKey(t.Context(), key.ID, want.Prefix, next, until); err != nil {
				t.Fatal(err)
			}
			if got := mustFind(t, s, next); !reflect.DeepEqual(got.Key, want) || got.Former || got.Hash != next {
				t.Errorf("by the new hash: %+v; want %+v", got, want)
			}
			if got := mustFind(t, s, last); !reflect.DeepEqual(got.Key, want) || !got.Former || got.Hash != last {
				t.Errorf("by the former hash: %+v; want %+v, and that it is the former", got, want)
			}
			last = next
		}
		if _, err := s.AccountByHash(t.Context(), hash); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("by the hash before the former one: %v, want ErrNotFound", err)
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
		if got := mustFind(t, s, hash); got.Key.RevokedAt == nil || !got.Key.RevokedAt.Equal(at) {
			t.Errorf("key is %+v; want it revoked at %v", got.Key, at)
		}
	})

	t.Run("many writers and readers at once", func(t *testing.T) {
		s := open(t)
		const n = 40
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				key, hash := sampleKey(i)
				if err := s.CreateKey(t.Context(), key, hash, nil); err != nil {
					t.Errorf("create %d: %v", i, err)
					return
				}
				if got, err := s.AccountByHash(t.Context(), hash); err != nil || got.Key.ID != key.ID {
					t.Errorf("read %d: %+v, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		if keys, err := s.ListKeys(t.Context()); err != nil || len(keys) != n {
			t.Errorf("%d keys, %v; want %d", len(keys), err, n)
		}
	})

	t.Run("rotations at once leave one chain of texts", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		mustCreate(t, s, key, hash)
		const n = 16
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if err := s.RotateKey(t.Context(), key.ID, "cc_x", sampleHash(100+i), start); err != nil {
					t.Errorf("rotate %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		present, former := 0, 0
		for i := range n {
			switch got, err := s.AccountByHash(t.Context(), sampleHash(100+i)); {
			case errors.Is(err, apikey.ErrNotFound):
			case err != nil:
				t.Error(err)
			case got.Former:
				former++
			default:
				present++
			}
		}
		if present != 1 || former != 1 {
			t.Errorf("%d present and %d former texts, want one of each", present, former)
		}
	})
}
