package apikey_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// refusedWish fails unless err is about a field, and nothing changed.
func (f *fixture) refusedWish(t *testing.T, err error, param string, before int64) {
	t.Helper()
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != apierror.BadRequest || e.Param != param {
		t.Errorf("error is %v, want bad_request that names %s", err, param)
	}
	if now, _ := f.store.KeysVersion(t.Context()); now != before {
		t.Error("something was changed all the same")
	}
}

func TestUpdate(t *testing.T) {
	f := newFixture()
	expires := time.Now().Add(time.Hour)
	text, key := f.create(t, apikey.Create{Name: "one", TokensPerMinute: 5, ExpiresAt: &expires})
	got, err := f.keys.Update(t.Context(), text, apikey.Update{Profile: new("enterprise"), RequestsPerMinute: new(0), ConcurrentRequests: new(4)})
	want := key
	want.Profile, want.Limits.RequestsPerMinute, want.Limits.ConcurrentRequests = "enterprise", 0, 4
	if err != nil || got != want {
		t.Errorf("Update = %+v, %v; want %+v", got, err, want)
	}
	got, err = f.keys.Update(t.Context(), key.ID, apikey.Update{Name: new(""), TokensPerMinute: new(6), ExpiresAt: new(time.Time)})
	want.Name, want.Limits.TokensPerMinute, want.ExpiresAt = "", 6, nil
	if err != nil || got != want {
		t.Errorf("Update = %+v, %v; want %+v", got, err, want)
	}
	if stored, err := f.keys.Find(t.Context(), key.ID); err != nil || stored.Key != want {
		t.Errorf("stored is %+v, %v; want %+v", stored.Key, err, want)
	}
}

func TestUpdateRefuses(t *testing.T) {
	f := newFixture()
	_, key := f.create(t, apikey.Create{})
	past := time.Now().Add(-time.Second)
	before, _ := f.store.KeysVersion(t.Context())
	for name, c := range map[string]struct {
		update apikey.Update
		param  string
	}{
		"a name with a newline":    {apikey.Update{Name: new("a\nb")}, "name"},
		"an unknown profile":       {apikey.Update{Profile: new("root")}, "profile"},
		"negative requests":        {apikey.Update{RequestsPerMinute: new(-1)}, "requests_per_minute"},
		"negative tokens":          {apikey.Update{TokensPerMinute: new(-1)}, "tokens_per_minute"},
		"absurd tokens":            {apikey.Update{TokensPerMinute: new(1_000_000_001)}, "tokens_per_minute"},
		"negative concurrency":     {apikey.Update{ConcurrentRequests: new(-1)}, "concurrent_requests"},
		"an expiry in the past":    {apikey.Update{ExpiresAt: &past}, "expires_at"},
		"good and bad at one time": {apikey.Update{Name: new("ok"), ConcurrentRequests: new(-1)}, "concurrent_requests"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.keys.Update(t.Context(), key.ID, c.update)
			f.refusedWish(t, err, c.param, before)
		})
	}
	t.Run("a grace period", func(t *testing.T) {
		for _, grace := range []time.Duration{-1, apikey.MaxGrace + 1} {
			_, _, err := f.keys.Rotate(t.Context(), key.ID, grace)
			f.refusedWish(t, err, "grace", before)
		}
	})
	t.Run("a revoked key", func(t *testing.T) {
		if _, err := f.keys.Revoke(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		_, err := f.keys.Update(t.Context(), key.ID, apikey.Update{Name: new("x")})
		f.refusedWish(t, err, "key", before+1)
		_, _, err = f.keys.Rotate(t.Context(), key.ID, 0)
		f.refusedWish(t, err, "key", before+1)
	})
}

func TestCreateRefusesLimitsAndBudgets(t *testing.T) {
	month := budget.Limit{Period: budget.Month, Unit: budget.USD, Hard: 5}
	for name, c := range map[string]struct {
		create apikey.Create
		param  string
	}{
		"negative tokens":      {apikey.Create{TokensPerMinute: -1}, "tokens_per_minute"},
		"negative concurrency": {apikey.Create{ConcurrentRequests: -1}, "concurrent_requests"},
		"an unknown period":    {apikey.Create{Budgets: []budget.Limit{{Period: "year", Unit: budget.USD, Hard: 1}}}, "budget.period"},
		"the same budget":      {apikey.Create{Budgets: []budget.Limit{month, month}}, "budget"},
		"an admin's budget":    {apikey.Create{Admin: true, Budgets: []budget.Limit{month}}, "budget"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			c.create.ProjectID = "alpha"
			_, _, err := f.keys.Create(t.Context(), c.create)
			f.refusedWish(t, err, c.param, 0)
		})
	}
}

func TestProjects(t *testing.T) {
	f := newFixture()
	berlin := apikey.Project{ID: "alpha", TimeZone: "Europe/Berlin", Limits: gateway.RateLimits{RequestsPerMinute: 1}}
	if err := f.keys.SetProject(t.Context(), berlin); err != nil {
		t.Fatal(err)
	}
	if err := f.keys.SetProject(t.Context(), apikey.Project{ID: "beta", TimeZone: "UTC"}); err != nil {
		t.Fatal(err)
	}
	if got, err := f.keys.Project(t.Context(), "alpha"); err != nil || got != berlin {
		t.Errorf("Project = %+v, %v", got, err)
	}
	if got, err := f.keys.Project(t.Context(), "beta"); err != nil || got.TimeZone != "" {
		t.Errorf("UTC has two names: %+v, %v", got, err)
	}
	if list, err := f.keys.Projects(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("Projects = %+v, %v", list, err)
	}

	before, _ := f.store.KeysVersion(t.Context())
	for name, c := range map[string]struct {
		project apikey.Project
		param   string
	}{
		"no id":                  {apikey.Project{}, "project_id"},
		"an id with a slash":     {apikey.Project{ID: "a/b"}, "project_id"},
		"an unknown zone":        {apikey.Project{ID: "a", TimeZone: "Mars/Olympus"}, "time_zone"},
		"each machine's zone":    {apikey.Project{ID: "a", TimeZone: "Local"}, "time_zone"},
		"a zone that is a path":  {apikey.Project{ID: "a", TimeZone: "../../etc/passwd"}, "time_zone"},
		"a negative limit":       {apikey.Project{ID: "a", Limits: gateway.RateLimits{RequestsPerMinute: -1}}, "requests_per_minute"},
		"negative tokens":        {apikey.Project{ID: "a", Limits: gateway.RateLimits{TokensPerMinute: -1}}, "tokens_per_minute"},
		"negative at once":       {apikey.Project{ID: "a", Limits: gateway.RateLimits{ConcurrentRequests: -1}}, "concurrent_requests"},
		"another zone, too late": {apikey.Project{ID: "alpha", TimeZone: "Asia/Tokyo"}, "time_zone"},
	} {
		t.Run(name, func(t *testing.T) {
			f.store.spent["alpha"] = true
			f.refusedWish(t, f.keys.SetProject(t.Context(), c.project), c.param, before)
		})
	}
}

func TestProfiles(t *testing.T) {
	f := newFixture()
	custom := apikey.Profile{Name: "my-builder-2", Permissions: gateway.Permissions{
		AllowedTools: []string{"Bash(git log *)"}, BlockedTools: []string{"Write"}, AllowedAgents: []string{"*"}, AllowedSkills: []string{"größe"},
		WorkingDirectories: []string{"/srv/a b", "*"}, MaxCostMicroUSD: 1, MaxTimeout: time.Minute,
	}}
	if err := f.keys.SetProfile(t.Context(), custom); err != nil {
		t.Fatal(err)
	}
	if got, err := f.keys.Profile(t.Context(), "my-builder-2"); err != nil || !reflect.DeepEqual(got, custom) {
		t.Errorf("Profile = %+v, %v", got, err)
	}
	list, err := f.keys.Profiles(t.Context())
	var names []string
	for _, profile := range list {
		names = append(names, profile.Name)
	}
	if got := strings.Join(names, " "); err != nil || got != "free pro enterprise my-builder-2" {
		t.Errorf("profiles are %s, %v", got, err)
	}
	_, key := f.create(t, apikey.Create{Profile: "my-builder-2"})
	before, _ := f.store.KeysVersion(t.Context())
	f.refusedWish(t, f.keys.DeleteProfile(t.Context(), "my-builder-2"), "name", before)
	f.refusedWish(t, f.keys.DeleteProfile(t.Context(), "free"), "name", before)
	f.refusedWish(t, f.keys.DeleteProfile(t.Context(), "none"), "profile", before)
	if _, err := f.keys.Revoke(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.keys.DeleteProfile(t.Context(), "my-builder-2"); err != nil {
		t.Error(err)
	}
	if _, err := f.keys.Profile(t.Context(), "my-builder-2"); !errors.Is(err, apikey.ErrNotFound) {
		t.Errorf("a deleted profile: %v", err)
	}
}

func TestSetProfileRefuses(t *testing.T) {
	f := newFixture()
	for name, c := range map[string]struct {
		name  string
		p     gateway.Permissions
		param string
	}{
		"no name":                     {"", gateway.Permissions{}, "name"},
		"a long name":                 {strings.Repeat("a", 33), gateway.Permissions{}, "name"},
		"a name in capitals":          {"Mine", gateway.Permissions{}, "name"},
		"a built-in name":             {"enterprise", gateway.Permissions{}, "name"},
		"a tool without a name":       {"a", gateway.Permissions{AllowedTools: []string{""}}, "allowed_tools"},
		"a tool with a newline":       {"a", gateway.Permissions{BlockedTools: []string{"Read\nWrite"}}, "blocked_tools"},
		"an agent with a space":       {"a", gateway.Permissions{AllowedAgents: []string{" x"}}, "allowed_agents"},
		"a skill that isn't UTF-8":    {"a", gateway.Permissions{AllowedSkills: []string{"\xff"}}, "allowed_skills"},
		"many skills":                 {"a", gateway.Permissions{AllowedSkills: make([]string, 257)}, "allowed_skills"},
		"a relative directory":        {"a", gateway.Permissions{WorkingDirectories: []string{"srv"}}, "working_directories"},
		"a directory that isn't tidy": {"a", gateway.Permissions{WorkingDirectories: []string{"/srv/../etc"}}, "working_directories"},
		"a directory with a slash":    {"a", gateway.Permissions{WorkingDirectories: []string{"/srv/"}}, "working_directories"},
		"a negative cost":             {"a", gateway.Permissions{MaxCostMicroUSD: -1}, "max_cost_per_task"},
		"a negative timeout":          {"a", gateway.Permissions{MaxTimeout: -1}, "max_timeout"},
		"a timeout too fine":          {"a", gateway.Permissions{MaxTimeout: time.Microsecond}, "max_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			f.refusedWish(t, f.keys.SetProfile(t.Context(), apikey.Profile{Name: c.name, Permissions: c.p}), c.param, 0)
		})
	}
}

func TestBudgets(t *testing.T) {
	f := newFixture()
	_, key := f.create(t, apikey.Create{})
	_, admin := f.create(t, apikey.Create{Admin: true})
	of := func(kind budget.Kind, id string, hard, soft int64) budget.Limit {
		return budget.Limit{Owner: budget.Owner{Kind: kind, ID: id}, Period: budget.Day, Unit: budget.Tokens, Hard: hard, Soft: soft}
	}
	own := of(budget.Key, key.ID, 10, 10)
	shared := of(budget.Project, "without-keys", 0, 3)
	if err := f.keys.SetProject(t.Context(), apikey.Project{ID: shared.Owner.ID}); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []budget.Limit{shared, own} {
		if err := f.keys.SetBudget(t.Context(), limit); err != nil {
			t.Error(err)
		}
	}
	if list, err := f.keys.ListBudgets(t.Context()); err != nil || !reflect.DeepEqual(list, []budget.Limit{own, shared}) {
		t.Errorf("ListBudgets = %+v, %v", list, err)
	}
	if list, err := f.keys.Budgets(t.Context(), own.Owner); err != nil || !reflect.DeepEqual(list, []budget.Limit{own}) {
		t.Errorf("Budgets = %+v, %v", list, err)
	}
	before, _ := f.store.KeysVersion(t.Context())
	with := func(change func(*budget.Limit)) budget.Limit {
		limit := own
		change(&limit)
		return limit
	}
	for name, c := range map[string]struct {
		limit budget.Limit
		param string
	}{
		"nobody's":              {with(func(l *budget.Limit) { l.Owner.Kind = "user" }), "budget.owner"},
		"an unknown period":     {with(func(l *budget.Limit) { l.Period = "year" }), "budget.period"},
		"an unknown unit":       {with(func(l *budget.Limit) { l.Unit = "eur" }), "budget.unit"},
		"a negative hard":       {of(budget.Key, key.ID, -1, 0), "budget.hard"},
		"a huge hard":           {of(budget.Key, key.ID, apikey.MaxBudget+1, 0), "budget.hard"},
		"a negative soft":       {of(budget.Key, key.ID, 0, -1), "budget.soft"},
		"a huge soft":           {of(budget.Key, key.ID, 0, apikey.MaxBudget+1), "budget.soft"},
		"a soft above hard":     {of(budget.Key, key.ID, 1, 2), "budget.soft"},
		"an unknown key's":      {of(budget.Key, "key_none", 1, 0), "key"},
		"a key's by prefix":     {of(budget.Key, key.Prefix, 1, 0), "key"},
		"an admin key's":        {of(budget.Key, admin.ID, 1, 0), "key"},
		"an unlikely project's": {of(budget.Project, "a/b", 1, 0), "project_id"},
		"an unknown project's":  {of(budget.Project, "shpo", 1, 0), "project_id"},
	} {
		t.Run(name, func(t *testing.T) { f.refusedWish(t, f.keys.SetBudget(t.Context(), c.limit), c.param, before) })
	}
	if err := f.keys.SetBudget(t.Context(), of(budget.Key, key.ID, 0, 0)); err != nil {
		t.Error(err)
	}
	if list, err := f.keys.ListBudgets(t.Context()); err != nil || !reflect.DeepEqual(list, []budget.Limit{shared}) {
		t.Errorf("after a removal: %+v, %v", list, err)
	}
	if err := f.keys.SetBudget(t.Context(), of(budget.Project, "gone", 0, 0)); err != nil {
		t.Errorf("a removal needs no project: %v", err)
	}
}

func TestKnownProject(t *testing.T) {
	f := newFixture()
	_, key := f.create(t, apikey.Create{})
	set := apikey.Project{ID: "set", TimeZone: "Asia/Tokyo"}
	if err := f.keys.SetProject(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	for _, want := range []apikey.Project{{ID: key.ProjectID}, set} {
		if got, err := f.keys.KnownProject(t.Context(), want.ID); err != nil || got != want {
			t.Errorf("%s is %+v, %v", want.ID, got, err)
		}
	}
	if _, err := f.keys.KnownProject(t.Context(), "shpo"); !errors.Is(err, apikey.ErrNotFound) {
		t.Errorf("one that isn't there: %v", err)
	}
	if _, err := f.keys.KnownProject(t.Context(), "a/b"); err == nil || errors.Is(err, apikey.ErrNotFound) {
		t.Errorf("what can't be one: %v", err)
	}
}

func TestSettingsPassErrorsOfTheStoreThrough(t *testing.T) {
	f := newFixture()
	_, key := f.create(t, apikey.Create{})
	broken := errors.New("broken")
	f.store.fail(broken)
	errorOf := func(_ any, err error) error { return err }
	limit := budget.Limit{Owner: budget.Owner{Kind: budget.Project, ID: "p"}, Period: budget.Day, Unit: budget.USD, Hard: 1}
	for name, err := range map[string]error{
		"Find":          errorOf(f.keys.Find(t.Context(), key.ID)),
		"Check":         errorOf(f.keys.Check(t.Context(), "cc_"+strings.Repeat("0", 40))),
		"Update":        errorOf(f.keys.Update(t.Context(), key.ID, apikey.Update{})),
		"Project":       errorOf(f.keys.Project(t.Context(), "p")),
		"Projects":      errorOf(f.keys.Projects(t.Context())),
		"KnownProject":  errorOf(f.keys.KnownProject(t.Context(), "p")),
		"SetProject":    f.keys.SetProject(t.Context(), apikey.Project{ID: "p"}),
		"Profile":       errorOf(f.keys.Profile(t.Context(), "custom")),
		"Profiles":      errorOf(f.keys.Profiles(t.Context())),
		"SetProfile":    f.keys.SetProfile(t.Context(), apikey.Profile{Name: "custom"}),
		"DeleteProfile": f.keys.DeleteProfile(t.Context(), "custom"),
		"SetBudget":     f.keys.SetBudget(t.Context(), limit),
		"Budgets":       errorOf(f.keys.Budgets(t.Context(), limit.Owner)),
		"ListBudgets":   errorOf(f.keys.ListBudgets(t.Context())),
	} {
		var e *apierror.Error
		if !errors.Is(err, broken) || errors.As(err, &e) {
			t.Errorf("%s = %v, want the store's error, and no wish's", name, err)
		}
	}
	if _, _, err := f.keys.Rotate(t.Context(), key.ID, 0); !errors.Is(err, broken) {
		t.Errorf("Rotate = %v", err)
	}
}
