package apikey_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

func TestACallerHasAllOfItsAccount(t *testing.T) {
	f := newFixture()
	permissions := gateway.Permissions{AllowedTools: []string{"Read"}, MaxCostMicroUSD: 5}
	if err := f.keys.SetProfile(t.Context(), apikey.Profile{Name: "builder", Permissions: permissions}); err != nil {
		t.Fatal(err)
	}
	project := apikey.Project{ID: "alpha", TimeZone: "Europe/Berlin", Limits: gateway.RateLimits{TokensPerMinute: 9}}
	if err := f.keys.SetProject(t.Context(), project); err != nil {
		t.Fatal(err)
	}
	text, key := f.create(t, apikey.Create{
		Profile: "builder", TokensPerMinute: 3, ConcurrentRequests: 2, Admin: false,
		Budgets: []budget.Limit{{Period: budget.Month, Unit: budget.Tokens, Hard: 1000}},
	})
	shared := budget.Limit{Owner: budget.Owner{Kind: budget.Project, ID: "alpha"}, Period: budget.Day, Unit: budget.USD, Soft: 7}
	if err := f.keys.SetBudget(t.Context(), shared); err != nil {
		t.Fatal(err)
	}
	caller := f.accepted(t, text)
	if !reflect.DeepEqual(caller.Permissions, permissions) || caller.Zone().String() != "Europe/Berlin" || caller.Project != project.Limits ||
		caller.Key != (gateway.RateLimits{RequestsPerMinute: 100, TokensPerMinute: 3, ConcurrentRequests: 2}) {
		t.Errorf("caller is %+v", caller)
	}
	own := budget.Limit{Owner: budget.Owner{Kind: budget.Key, ID: key.ID}, Period: budget.Month, Unit: budget.Tokens, Hard: 1000}
	if len(caller.Budgets) != 2 || !slices.Contains(caller.Budgets, own) || !slices.Contains(caller.Budgets, shared) {
		t.Errorf("budgets are %+v", caller.Budgets)
	}
}

func TestAnAdminCaller(t *testing.T) {
	f := newFixture()
	text, _ := f.create(t, apikey.Create{Admin: true})
	if !f.accepted(t, text).Admin {
		t.Error("the caller is no admin")
	}
}

// A profile that nobody has permits nothing.
func TestACallerOfAnUnknownProfile(t *testing.T) {
	f := newFixture()
	text := "cc_" + strings.Repeat("0a", 20)
	if err := f.store.CreateKey(t.Context(), apikey.Key{ID: "key_1", Profile: "gone"}, apikey.HashOf(text), nil); err != nil {
		t.Fatal(err)
	}
	if caller := f.accepted(t, text); caller.Profile != "gone" || !reflect.DeepEqual(caller.Permissions, gateway.Permissions{}) {
		t.Errorf("caller is %+v", caller)
	}
}

// Budgets that can't be counted must not be guessed.
func TestATimeZoneThatThisMachineDoesNotKnow(t *testing.T) {
	f := newFixture()
	text, _ := f.create(t, apikey.Create{})
	if err := f.store.PutProject(t.Context(), apikey.Project{ID: "alpha", TimeZone: "Mars/Olympus"}); err != nil {
		t.Fatal(err)
	}
	_, err := f.auth.Authenticate(t.Context(), text, "192.0.2.1")
	if e := apierror.From(err); e.Category != apierror.Overloaded || strings.Contains(e.Message, "Mars") {
		t.Errorf("Authenticate = %v", err)
	}
}

func TestAKeyIsRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		first, key := f.create(t, apikey.Create{})
		second, rotated, err := f.keys.Rotate(t.Context(), first, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if second == first || rotated.ID != key.ID || rotated.Prefix != second[:11] || rotated.FormerUntil == nil ||
			!rotated.FormerUntil.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("rotated to %+v", rotated)
		}
		for _, text := range []string{first, second} {
			if caller := f.accepted(t, text); caller.KeyID != key.ID {
				t.Errorf("caller is %+v", caller)
			}
		}
		time.Sleep(time.Hour - time.Nanosecond)
		f.accepted(t, first)
		lookups := f.store.lookedUp()
		time.Sleep(time.Nanosecond)
		f.refused(t, first, "the API key was replaced by a newer one")
		f.accepted(t, second)
		if f.store.lookedUp() != lookups {
			t.Error("the end of the grace period cost a look-up")
		}

		third, _, err := f.keys.Rotate(t.Context(), key.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go f.auth.Watch(ctx)
		synctest.Wait()
		f.refused(t, first, "invalid API key")
		f.refused(t, second, "the API key was replaced by a newer one")
		f.accepted(t, third)
		stop()
		synctest.Wait()
	})
}

func TestAnExpiryHoldsForTheFormerTextToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		expires := time.Now().Add(time.Minute)
		first, _ := f.create(t, apikey.Create{ExpiresAt: &expires})
		second, _, err := f.keys.Rotate(t.Context(), first, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		f.refused(t, first, "the API key has expired")
		f.refused(t, second, "the API key has expired")
	})
}

// elsewhere answers with another account than the one that was asked for, as an
// index that compares too little would.
type elsewhere struct{ *memory }

func (e elsewhere) AccountByHash(context.Context, apikey.Hash) (apikey.Account, error) {
	return apikey.Account{Hash: apikey.HashOf("another"), Key: apikey.Key{ID: "key_1"}}, nil
}

func TestWhatWasFoundIsHeldAgainstWhatWasPresented(t *testing.T) {
	f := newFixture()
	f.auth = apikey.NewAuthenticator(apikey.AuthenticatorOptions{Store: elsewhere{f.store}})
	f.refused(t, "cc_"+strings.Repeat("0a", 20), "invalid API key")
}

func TestFind(t *testing.T) {
	f := newFixture()
	text, key := f.create(t, apikey.Create{Profile: "free", Budgets: []budget.Limit{
		{Period: budget.Total, Unit: budget.USD, Hard: 3}, {Period: budget.Day, Unit: budget.USD, Hard: 1}, {Period: budget.Day, Unit: budget.Tokens, Hard: 2},
	}})
	if err := f.keys.SetProject(t.Context(), apikey.Project{ID: "alpha", TimeZone: "Asia/Tokyo"}); err != nil {
		t.Fatal(err)
	}
	shared := budget.Limit{Owner: budget.Owner{Kind: budget.Project, ID: "alpha"}, Period: budget.Day, Unit: budget.USD, Hard: 7}
	if err := f.keys.SetBudget(t.Context(), shared); err != nil {
		t.Fatal(err)
	}
	for name, ref := range map[string]string{"by the text": text, "by the id": key.ID, "by the prefix": key.Prefix} {
		t.Run(name, func(t *testing.T) {
			got, err := f.keys.Find(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			if got.Key != key || got.Project.TimeZone != "Asia/Tokyo" || got.Profile.Name != "free" || got.Profile.Permissions.MaxCostMicroUSD != 100_000 {
				t.Errorf("account is %+v", got)
			}
			var hard []int64
			for _, limit := range got.Budgets {
				hard = append(hard, limit.Hard)
			}
			if !reflect.DeepEqual(hard, []int64{2, 1, 3, 7}) {
				t.Errorf("budgets are %+v", got.Budgets)
			}
		})
	}
	for _, ref := range []string{"key_none", "cc_" + strings.Repeat("0", 40)} {
		if _, err := f.keys.Find(t.Context(), ref); !errors.Is(err, apikey.ErrNotFound) || strings.Contains(err.Error(), ref) {
			t.Errorf("Find(%s) = %v, want ErrNotFound", ref, err)
		}
	}
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		text, key := f.create(t, apikey.Create{})
		if got, err := f.keys.Check(t.Context(), text); err != nil || got.Key.ID != key.ID || got.Profile.Name != "pro" {
			t.Errorf("Check = %+v, %v", got, err)
		}
		refused := func(text, message, id string) {
			t.Helper()
			got, err := f.keys.Check(t.Context(), text)
			if e := apierror.From(err); e == nil || e.Category != apierror.AuthError || e.Message != message || got.Key.ID != id {
				t.Errorf("Check = %+v, %v; want %s", got.Key, err, message)
			}
		}
		refused("", "missing API key: send x-api-key or Authorization: Bearer", "")
		refused(key.ID, "invalid API key", "")
		refused("cc_"+strings.Repeat("0", 40), "invalid API key", "")
		next, _, err := f.keys.Rotate(t.Context(), key.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		refused(text, "the API key was replaced by a newer one", key.ID)
		if _, err := f.keys.Revoke(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		refused(next, "the API key was revoked", key.ID)
	})
}
