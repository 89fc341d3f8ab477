package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// TestChangesAreToldOf makes every change, with what would be noted of each.
func TestChangesAreToldOf(t *testing.T) {
	var told []string
	var failing error
	keys := apikey.NewKeys(apikey.Options{Store: newMemory(), Now: fixedNow, Changed: func(ctx context.Context, changes []apikey.Change) error {
		for _, c := range changes {
			told = append(told, fmt.Sprintf("%s %s %s: %s", c.Action, c.Target, c.Project, c.Detail))
		}
		return errors.Join(failing, ctx.Err())
	}})
	expires := now.Add(time.Hour)
	text, key, err := keys.Create(t.Context(), apikey.Create{
		ProjectID: "alpha", Name: "a, b=c", TokensPerMinute: 5, ExpiresAt: &expires,
		Budgets: []budget.Limit{{Period: budget.Month, Unit: budget.USD, Hard: 1_500_000, Soft: 1_000_000}, {Period: budget.Day, Unit: budget.Tokens}},
	})
	if err != nil {
		t.Fatal(err)
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	limit := budget.Limit{Owner: budget.Owner{Kind: budget.Key, ID: key.ID}, Period: budget.Total, Unit: budget.Tokens, Hard: 7}
	none, projects := limit, limit
	none.Hard = 0
	projects.Owner, projects.Period = budget.Owner{Kind: budget.Project, ID: "beta"}, budget.Week
	for _, step := range []struct {
		do   func() error
		want string // "": nothing has changed
	}{
		{func() error { return nil }, "key.created ID alpha: profile=pro, requests_per_minute=100, tokens_per_minute=5, " +
			"expires_at=2026-05-06T08:08:09Z, name=\"a, b=c\"\nbudget.set ID alpha: key, usd per month, hard=1.5, soft=1"},
		{func() error {
			_, err := keys.Update(t.Context(), text, apikey.Update{Profile: new("free"), RequestsPerMinute: new(0), ExpiresAt: &time.Time{}})
			return err
		}, "key.updated ID alpha: profile=free, requests_per_minute=0, expires_at=never"},
		{func() error {
			_, err := keys.Update(t.Context(), text, apikey.Update{Profile: new("free")})
			return err
		}, ""},
		{func() error { return keys.SetBudget(t.Context(), limit) }, "budget.set ID alpha: key, tokens in total, hard=7"},
		{func() error { return keys.SetBudget(left, none) }, "budget.removed ID alpha: key, tokens in total"}, // the asker has left
		{func() error {
			return keys.SetProject(t.Context(), apikey.Project{ID: "beta", TimeZone: "Europe/Berlin", Limits: gateway.RateLimits{ConcurrentRequests: 9}})
		}, "project.set beta beta: time_zone=Europe/Berlin, requests_per_minute=0, tokens_per_minute=0, concurrent_requests=9"},
		{func() error { return keys.SetBudget(t.Context(), projects) }, "budget.set beta beta: project, tokens per week, hard=7"},
		{func() error {
			return keys.SetProfile(t.Context(), apikey.Profile{Name: "own", Permissions: gateway.Permissions{AllowedTools: []string{"Read"}}})
		}, `profile.set own : {"allowed_tools":["Read"],"blocked_tools":[],"allowed_agents":[],"allowed_skills":[],"max_cost_per_task":0,"max_timeout":0,"working_directories":[]}`},
		{func() error { return keys.DeleteProfile(t.Context(), "own") }, "profile.deleted own : "},
		{func() error {
			_, _, err := keys.Rotate(t.Context(), text, time.Hour)
			return err
		}, "key.rotated ID alpha: the former text is taken until 2026-05-06T08:08:09Z"},
		{func() error {
			_, err := keys.Revoke(t.Context(), key.ID)
			return err
		}, "key.revoked ID alpha: "},
		{func() error {
			_, err := keys.Revoke(t.Context(), key.ID)
			return err
		}, ""},
		{func() error {
			_, err := keys.Update(t.Context(), key.ID, apikey.Update{Name: new("\x00")})
			if err == nil {
				t.Error("it was changed")
			}
			return nil
		}, ""},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.want, err)
		}
		if got := strings.ReplaceAll(strings.Join(told, "\n"), key.ID, "ID"); got != step.want {
			t.Errorf("told of\n%s\nwant\n%s", got, step.want)
		}
		told = nil
	}

	// What can't be noted is an error, of everything that changes something.
	failing = errors.New("disk full")
	other, _, err := keys.Create(t.Context(), apikey.Create{ProjectID: "alpha"})
	if !errors.Is(err, failing) || other != "" {
		t.Errorf("Create = %v, %v", other, err)
	}
	list, err := keys.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("keys %+v, %v", list, err)
	}
	id := list[slices.IndexFunc(list, func(k apikey.Key) bool { return k.ID != key.ID })].ID
	limit.Owner.ID = id
	_, update := keys.Update(t.Context(), id, apikey.Update{Name: new("x")})
	newText, _, rotate := keys.Rotate(t.Context(), id, 0)
	_, revoke := keys.Revoke(t.Context(), id)
	for name, err := range map[string]error{
		"Update": update, "Rotate": rotate, "Revoke": revoke, "SetBudget": keys.SetBudget(t.Context(), limit),
		"SetProject":    keys.SetProject(t.Context(), apikey.Project{ID: "alpha"}),
		"SetProfile":    keys.SetProfile(t.Context(), apikey.Profile{Name: "own"}),
		"DeleteProfile": keys.DeleteProfile(t.Context(), "own"),
	} {
		if !errors.Is(err, failing) || !strings.Contains(err.Error(), "couldn't be noted") {
			t.Errorf("%s = %v", name, err)
		}
	}
	if newText != "" {
		t.Error("a key's text that isn't noted was given out")
	}
}
