package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/usage"
)

// AccountStore is what TestAccounts needs: accounts, and the ledger that says
// what was spent.
type AccountStore interface {
	apikey.Store
	AppendUsage(ctx context.Context, rows []usage.Row, sums []usage.Sum) error
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sampleProfile(name string) apikey.Profile {
	return apikey.Profile{Name: name, Permissions: gateway.Permissions{
		AllowedTools: []string{"Read", "Bash(git log *)"}, BlockedTools: []string{"Write"}, AllowedAgents: []string{gateway.All},
		AllowedSkills: []string{"größer \"<&>\""}, MaxCostMicroUSD: 1_234_567, MaxTimeout: 90*time.Second + time.Millisecond,
		WorkingDirectories: []string{"/srv/a b", gateway.All},
	}}
}

func keyBudget(id string, period budget.Period, unit budget.Unit, hard, soft int64) budget.Limit {
	return budget.Limit{Owner: budget.Owner{Kind: budget.Key, ID: id}, Period: period, Unit: unit, Hard: hard, Soft: soft}
}

func projectBudget(id string, period budget.Period, unit budget.Unit, hard, soft int64) budget.Limit {
	return budget.Limit{Owner: budget.Owner{Kind: budget.Project, ID: id}, Period: period, Unit: unit, Hard: hard, Soft: soft}
}

// sameBudgets compares without order.
func sameBudgets(got, want []budget.Limit) bool {
	sorted := func(list []budget.Limit) []budget.Limit {
		return slices.SortedFunc(slices.Values(list), func(a, b budget.Limit) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return slices.Equal(sorted(got), sorted(want))
}

// TestAccounts checks the projects, profiles and budgets of an apikey.Store. open
// gives a new, empty store each time and sees to its end.
func TestAccounts(t *testing.T, open func(t *testing.T) AccountStore) {
	t.Run("an account has all of its parts", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		key.Profile = "builder"
		other, otherHash := sampleKey(2)
		other.ProjectID = "beta"
		own := []budget.Limit{keyBudget(key.ID, budget.Day, budget.Tokens, 10, 5), keyBudget(key.ID, budget.Total, budget.USD, 7, 0)}
		shared := projectBudget("alpha", budget.Month, budget.USD, 0, 3)
		mustCreate(t, s, key, hash, own...)
		mustCreate(t, s, other, otherHash, keyBudget(other.ID, budget.Day, budget.Tokens, 1, 0))
		// Its id is the key's: whose a budget is depends on the kind, too.
		must(t, s.SetBudget(t.Context(), projectBudget(key.ID, budget.Day, budget.USD, 1, 0)))
		must(t, s.SetBudget(t.Context(), shared))
		must(t, s.PutProfile(t.Context(), sampleProfile("builder")))
		must(t, s.PutProfile(t.Context(), sampleProfile("another")))
		project := apikey.Project{ID: "alpha", TimeZone: "Europe/Berlin", Limits: gateway.RateLimits{RequestsPerMinute: 1, TokensPerMinute: 2, ConcurrentRequests: 3}}
		must(t, s.PutProject(t.Context(), project))

		got := mustFind(t, s, hash)
		if want := append(own, shared); !sameBudgets(got.Budgets, want) {
			t.Errorf("budgets are %+v, want %+v", got.Budgets, want)
		}
		got.Budgets = nil
		if want := (apikey.Account{Key: key, Project: project, Profile: sampleProfile("builder"), Hash: hash}); !reflect.DeepEqual(got, want) {
			t.Errorf("account is %+v\nwant %+v", got, want)
		}
		if got := mustFind(t, s, otherHash); got.Project != (apikey.Project{ID: "beta"}) || !reflect.DeepEqual(got.Profile, apikey.Profile{}) || len(got.Budgets) != 1 {
			t.Errorf("the other account is %+v", got)
		}
	})

	t.Run("projects", func(t *testing.T) {
		s := open(t)
		if got, err := s.Project(t.Context(), "alpha"); err != nil || got != (apikey.Project{ID: "alpha"}) {
			t.Errorf("a project without settings is %+v, %v", got, err)
		}
		if list, err := s.ListProjects(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("ListProjects = %+v, %v; want none", list, err)
		}
		zeta := apikey.Project{ID: "zeta", TimeZone: "Asia/Tokyo", Limits: gateway.RateLimits{TokensPerMinute: 5}}
		must(t, s.PutProject(t.Context(), apikey.Project{ID: "zeta", Limits: gateway.RateLimits{RequestsPerMinute: 1}}))
		must(t, s.PutProject(t.Context(), zeta))
		for n, project := range []string{"middle", "alpha", "alpha", "zeta"} {
			key, hash := sampleKey(n)
			key.ProjectID = project
			mustCreate(t, s, key, hash)
		}
		if got, err := s.Project(t.Context(), "zeta"); err != nil || got != zeta {
			t.Errorf("Project = %+v, %v; want %+v", got, err, zeta)
		}
		list, err := s.ListProjects(t.Context())
		if want := []apikey.Project{{ID: "alpha"}, {ID: "middle"}, zeta}; err != nil || !slices.Equal(list, want) {
			t.Errorf("ListProjects = %+v, %v; want %+v", list, err, want)
		}
	})

	t.Run("a project that has spent keeps its time zone", func(t *testing.T) {
		s := open(t)
		spend := func(project, key string) {
			t.Helper()
			must(t, s.AppendUsage(t.Context(), nil, []usage.Sum{{
				Day: start, ProjectID: project, KeyID: key, Model: "m", Requests: 1, Usage: message.Usage{InputTokens: 1},
			}}))
		}
		berlin := apikey.Project{ID: "alpha", TimeZone: "Europe/Berlin"}
		spend("beta", "alpha") // a key of that name
		must(t, s.PutProject(t.Context(), berlin))
		spend("alpha", "key")
		before := version(t, s)
		for _, moved := range []apikey.Project{
			{ID: "alpha", TimeZone: "Asia/Tokyo", Limits: gateway.RateLimits{TokensPerMinute: 5}}, {ID: "alpha"}, {ID: "beta", TimeZone: "Asia/Tokyo"},
		} {
			if err := s.PutProject(t.Context(), moved); !errors.Is(err, apikey.ErrSpent) {
				t.Errorf("PutProject(%+v) = %v, want ErrSpent", moved, err)
			}
		}
		if got, err := s.Project(t.Context(), "alpha"); err != nil || got != berlin || version(t, s) != before {
			t.Errorf("the project is %+v, %v; want %+v", got, err, berlin)
		}
		berlin.Limits.RequestsPerMinute = 9 // all else may change
		must(t, s.PutProject(t.Context(), berlin))
		must(t, s.PutProject(t.Context(), apikey.Project{ID: "beta", Limits: berlin.Limits}))
		if got, err := s.Project(t.Context(), "alpha"); err != nil || got != berlin {
			t.Errorf("the project is %+v, %v; want %+v", got, err, berlin)
		}
	})

	t.Run("profiles", func(t *testing.T) {
		s := open(t)
		if list, err := s.ListProfiles(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("ListProfiles = %+v, %v; want none", list, err)
		}
		must(t, s.PutProfile(t.Context(), apikey.Profile{Name: "b"}))
		must(t, s.PutProfile(t.Context(), sampleProfile("a")))
		must(t, s.PutProfile(t.Context(), sampleProfile("b")))
		must(t, s.PutProfile(t.Context(), apikey.Profile{Name: "nothing"}))
		list, err := s.ListProfiles(t.Context())
		if want := []apikey.Profile{sampleProfile("a"), sampleProfile("b"), {Name: "nothing"}}; err != nil || !reflect.DeepEqual(list, want) {
			t.Errorf("ListProfiles = %+v, %v; want %+v", list, err, want)
		}

		key, hash := sampleKey(1)
		key.Profile = "a"
		mustCreate(t, s, key, hash)
		if err := s.DeleteProfile(t.Context(), "a"); !errors.Is(err, apikey.ErrInUse) {
			t.Errorf("DeleteProfile of a key's = %v, want ErrInUse", err)
		}
		must(t, s.RevokeKey(t.Context(), key.ID, start))
		must(t, s.DeleteProfile(t.Context(), "a"))
		if err := s.DeleteProfile(t.Context(), "a"); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("DeleteProfile again = %v, want ErrNotFound", err)
		}
		if got := mustFind(t, s, hash); !reflect.DeepEqual(got.Profile, apikey.Profile{}) || got.Key.Profile != "a" {
			t.Errorf("the account of a deleted profile is %+v", got)
		}
		if list, err := s.ListProfiles(t.Context()); err != nil || len(list) != 2 {
			t.Errorf("ListProfiles = %+v, %v; want the other two", list, err)
		}
	})

	t.Run("budgets", func(t *testing.T) {
		s := open(t)
		huge := keyBudget("k", budget.Day, budget.Tokens, apikey.MaxBudget, 1)
		all := []budget.Limit{
			huge, keyBudget("k", budget.Day, budget.USD, 0, 2), keyBudget("k", budget.Week, budget.Tokens, 3, 0),
			keyBudget("l", budget.Day, budget.Tokens, 4, 0), projectBudget("k", budget.Day, budget.Tokens, 5, 0),
		}
		must(t, s.SetBudget(t.Context(), keyBudget("k", budget.Day, budget.Tokens, 1, 0)))
		for _, limit := range all { // the first one changes
			must(t, s.SetBudget(t.Context(), limit))
		}
		if got, err := s.ListBudgets(t.Context()); err != nil || !sameBudgets(got, all) {
			t.Errorf("ListBudgets = %+v, %v; want %+v", got, err, all)
		}
		if got, err := s.Budgets(t.Context(), huge.Owner); err != nil || !sameBudgets(got, all[:3]) {
			t.Errorf("Budgets = %+v, %v; want %+v", got, err, all[:3])
		}
		must(t, s.SetBudget(t.Context(), keyBudget("k", budget.Day, budget.Tokens, 0, 0)))
		must(t, s.SetBudget(t.Context(), keyBudget("none", budget.Day, budget.Tokens, 0, 0)))
		if got, err := s.ListBudgets(t.Context()); err != nil || !sameBudgets(got, all[1:]) {
			t.Errorf("ListBudgets after a removal = %+v, %v; want %+v", got, err, all[1:])
		}
		if got, err := s.Budgets(t.Context(), budget.Owner{Kind: budget.Project, ID: "none"}); err != nil || len(got) != 0 {
			t.Errorf("Budgets of nobody = %+v, %v", got, err)
		}
	})

	t.Run("every change raises the version", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		last := version(t, s)
		for _, c := range []struct {
			name string
			err  func(ctx context.Context) error
		}{
			{"create", func(ctx context.Context) error { return s.CreateKey(ctx, key, hash, nil) }},
			{"update", func(ctx context.Context) error { return s.UpdateKey(ctx, key) }},
			{"rotate", func(ctx context.Context) error { return s.RotateKey(ctx, key.ID, key.Prefix, sampleHash(2), start) }},
			{"revoke", func(ctx context.Context) error { return s.RevokeKey(ctx, key.ID, start) }},
			{"a new project", func(ctx context.Context) error { return s.PutProject(ctx, apikey.Project{ID: "alpha"}) }},
			{"a project", func(ctx context.Context) error {
				return s.PutProject(ctx, apikey.Project{ID: "alpha", TimeZone: "Asia/Tokyo"})
			}},
			{"a new profile", func(ctx context.Context) error { return s.PutProfile(ctx, apikey.Profile{Name: "a"}) }},
			{"a profile", func(ctx context.Context) error { return s.PutProfile(ctx, sampleProfile("a")) }},
			{"no profile", func(ctx context.Context) error { return s.DeleteProfile(ctx, "a") }},
			{"a new budget", func(ctx context.Context) error {
				return s.SetBudget(ctx, keyBudget(key.ID, budget.Day, budget.USD, 1, 0))
			}},
			{"a budget", func(ctx context.Context) error {
				return s.SetBudget(ctx, keyBudget(key.ID, budget.Day, budget.USD, 2, 0))
			}},
			{"no budget", func(ctx context.Context) error {
				return s.SetBudget(ctx, keyBudget(key.ID, budget.Day, budget.USD, 0, 0))
			}},
		} {
			must(t, c.err(t.Context()))
			now := version(t, s)
			if now <= last {
				t.Errorf("%s: version %d after %d", c.name, now, last)
			}
			last = now
		}
		must(t, s.RevokeKey(t.Context(), key.ID, start.Add(time.Hour)))
		must(t, s.AppendUsage(t.Context(), []usage.Row{{}}, nil))
		mustFind(t, s, sampleHash(2))
		if now := version(t, s); now != last {
			t.Errorf("version rose from %d to %d by itself", last, now)
		}
	})

	t.Run("many changes at once", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		mustCreate(t, s, key, hash)
		const n = 24
		before := version(t, s)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				id := fmt.Sprintf("p%02d", i)
				err := errors.Join(
					s.SetBudget(t.Context(), projectBudget(id, budget.Day, budget.USD, int64(i+1), 0)),
					s.PutProject(t.Context(), apikey.Project{ID: id}),
					s.PutProfile(t.Context(), apikey.Profile{Name: id}),
					s.UpdateKey(t.Context(), key),
				)
				if _, findErr := s.AccountByHash(t.Context(), hash); errors.Join(err, findErr) != nil {
					t.Errorf("%d: %v, %v", i, err, findErr)
				}
			})
		}
		wg.Wait()
		if after := version(t, s); after != before+4*n {
			t.Errorf("version rose by %d, want %d", after-before, 4*n)
		}
		budgets, err := s.ListBudgets(t.Context())
		projects, projectsErr := s.ListProjects(t.Context())
		profiles, profilesErr := s.ListProfiles(t.Context())
		if err := errors.Join(err, projectsErr, profilesErr); err != nil || len(budgets) != n || len(projects) != n+1 || len(profiles) != n {
			t.Errorf("%d budgets, %d projects, %d profiles, %v", len(budgets), len(projects), len(profiles), err)
		}
	})

	t.Run("an ended context", func(t *testing.T) {
		s := open(t)
		key, hash := sampleKey(1)
		mustCreate(t, s, key, hash)
		before := version(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		errorOf := func(_ any, err error) error { return err }
		other, otherHash := sampleKey(2)
		for name, err := range map[string]error{
			"CreateKey":     s.CreateKey(ctx, other, otherHash, nil),
			"AccountByHash": errorOf(s.AccountByHash(ctx, hash)),
			"KeysByRef":     errorOf(s.KeysByRef(ctx, key.ID)),
			"ListKeys":      errorOf(s.ListKeys(ctx)),
			"UpdateKey":     s.UpdateKey(ctx, key),
			"RotateKey":     s.RotateKey(ctx, key.ID, "cc_x", otherHash, start),
			"RevokeKey":     s.RevokeKey(ctx, key.ID, start),
			"Project":       errorOf(s.Project(ctx, "alpha")),
			"PutProject":    s.PutProject(ctx, apikey.Project{ID: "alpha"}),
			"ListProjects":  errorOf(s.ListProjects(ctx)),
			"PutProfile":    s.PutProfile(ctx, apikey.Profile{Name: "a"}),
			"DeleteProfile": s.DeleteProfile(ctx, "a"),
			"ListProfiles":  errorOf(s.ListProfiles(ctx)),
			"SetBudget":     s.SetBudget(ctx, keyBudget("k", budget.Day, budget.USD, 1, 0)),
			"Budgets":       errorOf(s.Budgets(ctx, budget.Owner{Kind: budget.Key, ID: key.ID})),
			"ListBudgets":   errorOf(s.ListBudgets(ctx)),
			"KeysVersion":   errorOf(s.KeysVersion(ctx)),
		} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s = %v, want context.Canceled", name, err)
			}
		}
		if after := version(t, s); after != before {
			t.Errorf("version went from %d to %d although nothing was done", before, after)
		}
	})
}
