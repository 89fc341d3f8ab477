package apikey_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// TestCallerByID finds the same caller as the key's text does.
func TestCallerByID(t *testing.T) {
	f := newFixture()
	expires := time.Now().Add(time.Hour)
	if err := errors.Join(
		f.keys.SetProfile(t.Context(), apikey.Profile{Name: "own", Permissions: gateway.Permissions{AllowedTools: []string{"Read"}}}),
		f.store.PutProject(t.Context(), apikey.Project{ID: "alpha", TimeZone: "Europe/Berlin", Limits: gateway.RateLimits{RequestsPerMinute: 3}}),
		f.store.SetBudget(t.Context(), budget.Limit{Owner: budget.Owner{Kind: budget.Project, ID: "alpha"}, Period: budget.Day, Unit: budget.USD, Hard: 5}),
	); err != nil {
		t.Fatal(err)
	}
	text, key := f.create(t, apikey.Create{Profile: "own", ExpiresAt: &expires})
	if err := f.store.SetBudget(t.Context(), budget.Limit{Owner: budget.Owner{Kind: budget.Key, ID: key.ID}, Period: budget.Day, Unit: budget.USD, Hard: 5}); err != nil {
		t.Fatal(err)
	}
	want := f.accepted(t, text)
	got, err := f.auth.Caller(t.Context(), key.ID)
	if err != nil || len(got.Budgets) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	got.Budgets, want.Budgets = nil, nil // in no particular order
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the id gives %+v, the text %+v", got, want)
	}

	for _, id := range []string{"", "absent", key.Prefix} {
		checkRefused(t, f, id, apierror.AuthError)
	}
	if _, err := f.keys.Revoke(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	checkRefused(t, f, key.ID, apierror.AuthError)
	f.store.fail(errors.New("no way there"))
	checkRefused(t, f, key.ID, apierror.Overloaded)
}

func checkRefused(t *testing.T, f *fixture, id string, category apierror.Category) {
	t.Helper()
	caller, err := f.auth.Caller(t.Context(), id)
	var e *apierror.Error
	if caller != nil || !errors.As(err, &e) || e.Category != category {
		t.Errorf("Caller(%q) = %+v, %v; want %s", id, caller, err, category)
	}
}
