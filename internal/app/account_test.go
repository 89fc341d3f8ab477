package app

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

func TestBudgetOutputCap(t *testing.T) {
	c := settings(t)
	c.BudgetOutputCap = 3
	a, _ := serving(t, c)
	key, _, err := a.Keys().Create(t.Context(), apikey.Create{
		ProjectID: "capped", Budgets: []budget.Limit{{Period: budget.Day, Unit: budget.Tokens, Hard: 1_000_000}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const prompt = `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"hello [[tokens=50]]"}]}`
	if status, body := ask(t, a, "POST", "/v1/messages", key, prompt); status != http.StatusOK ||
		!strings.Contains(body, `"stop_reason":"max_tokens"`) || !strings.Contains(body, `"output_tokens":3,`) {
		t.Errorf("%d %s", status, body)
	}
}

// TestAccountsReachTheWalk holds a running service to what its keys, projects and
// budgets say.
func TestAccountsReachTheWalk(t *testing.T) {
	c, root := settings(t), t.TempDir()
	c.WorkingRoots = []string{root}
	a, err := New(t.Context(), c, silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	create := func(c apikey.Create) string {
		t.Helper()
		key, _, err := a.Keys().Create(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	const prompt = `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}`

	t.Run("an admin key generates nothing", func(t *testing.T) {
		key := create(apikey.Create{ProjectID: "admins", Admin: true})
		for _, path := range []string{"/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions", "/v1/responses", "/v1/process", "/v1/batch", "/v1/route"} {
			// A body that can't be decoded isn't looked at.
			if status, body := ask(t, a, "POST", path, key, "{"); status != http.StatusForbidden || !strings.Contains(body, "an admin key") || !strings.Contains(body, "permission") {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
	})

	t.Run("a project's limit holds for all of its keys", func(t *testing.T) {
		if err := a.Keys().SetProject(t.Context(), apikey.Project{ID: "small", Limits: gateway.RateLimits{RequestsPerMinute: 2}}); err != nil {
			t.Fatal(err)
		}
		for n, want := range []int{200, 200, 429} {
			status, body := ask(t, a, "POST", "/v1/messages", create(apikey.Create{ProjectID: "small"}), prompt)
			if status != want || status == 429 && !strings.Contains(body, "the project's limit of 2 requests per minute") {
				t.Errorf("key %d: %d %s, want %d", n+1, status, body, want)
			}
		}
	})

	t.Run("a budget is held", func(t *testing.T) {
		key := create(apikey.Create{ProjectID: "poor", Budgets: []budget.Limit{{Period: budget.Day, Unit: budget.Tokens, Hard: 1}}})
		if status, body := ask(t, a, "POST", "/v1/messages", key, prompt); status != http.StatusPaymentRequired {
			t.Errorf("%d %s", status, body)
		}
	})

	t.Run("a profile is checked before anything is started", func(t *testing.T) {
		if err := a.Keys().SetProfile(t.Context(), apikey.Profile{Name: "narrow", Permissions: gateway.Permissions{
			AllowedTools: []string{"Read"}, WorkingDirectories: []string{"/srv"},
		}}); err != nil {
			t.Fatal(err)
		}
		for profile, want := range map[string]int{apikey.ProfileFree: 403, "narrow": 403, apikey.ProfileEnterprise: 501} { // there is no CLI
			key := create(apikey.Create{ProjectID: "tools", Profile: profile})
			for _, more := range []string{`"allowed_tools":["Read","Bash(rm:*)"],`, `"working_directory":` + strconv.Quote(root) + `,`, `"working_directory":"/etc",`} {
				if strings.Contains(more, "/etc") {
					want = 403 // for every profile: it is below none of the configured folders
				}
				chat := strings.Replace(prompt, "{", "{"+more, 1)
				process := strings.NewReplacer(`"model"`, `"provider":"x","model_name"`).Replace(chat)
				for path, body := range map[string]string{"/v1/chat/completions": chat, "/v1/process": process} {
					if status, answer := ask(t, a, "POST", path, key, body); status != want || status == 403 && !strings.Contains(answer, "profile doesn't allow") && !strings.Contains(answer, "profile allows") && !strings.Contains(answer, "tasks may work") {
						t.Errorf("%s, %s with %s: %d %s, want %d", profile, path, more, status, answer, want)
					}
				}
			}
		}
	})

	t.Run("a rotated key works under both texts", func(t *testing.T) {
		former := create(apikey.Create{ProjectID: "turning"})
		key, _, err := a.Keys().Rotate(t.Context(), former, apikey.MaxGrace)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{former, key} {
			if status, body := ask(t, a, "POST", "/v1/messages", text, prompt); status != http.StatusOK {
				t.Errorf("%d %s", status, body)
			}
		}
	})
}
