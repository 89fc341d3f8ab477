package adminapi_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// keyTold is a key as it is told of.
type keyTold struct {
	Key           string     `json:"key"`
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	Prefix        string     `json:"prefix"`
	ProjectID     string     `json:"project_id"`
	Profile       string     `json:"profile"`
	Admin         bool       `json:"admin"`
	CreatedAt     time.Time  `json:"created_at"`
	ExpiresAt     *time.Time `json:"expires_at"`
	RevokedAt     *time.Time `json:"revoked_at"`
	ReplacedUntil *time.Time `json:"replaced_until"`
	LastUsedAt    *time.Time `json:"last_used_at"`
	Limits        struct {
		RequestsPerMinute  int `json:"requests_per_minute"`
		TokensPerMinute    int `json:"tokens_per_minute"`
		ConcurrentRequests int `json:"concurrent_requests"`
	} `json:"limits"`
	Spent struct {
		TodayTokens   int64 `json:"today_tokens"`
		TodayMicroUSD int64 `json:"today_micro_usd"`
	} `json:"spent"`
}

// taken says whether a key's text is taken now.
func (h *hall) taken(t *testing.T, text string) bool {
	t.Helper()
	_, err := h.keys.Check(t.Context(), text)
	return err == nil
}

// TestALifeOfAKey makes a key, changes it, gives it another text and revokes it.
func TestALifeOfAKey(t *testing.T) {
	h := newHall(t)
	var made keyTold
	h.get(t, http.MethodPost, "/keys", `{"project_id":"beta","name":"shop","profile":"free","expires_in_seconds":3600,"requests_per_minute":7,"tokens_per_minute":8,
		"concurrent_requests":9,"budgets":[{"period":"day","unit":"tokens","hard":1000,"soft_percent":80},{"period":"month","unit":"usd","hard":5000000,"soft":1}]}`, &made)
	if !apikey.WellFormed(made.Key) || !strings.HasPrefix(made.Key, made.Prefix) || !h.taken(t, made.Key) {
		t.Errorf("made %+v", made)
	}
	if made.Name != "shop" || made.ProjectID != "beta" || made.Profile != "free" || made.Admin || made.Limits.RequestsPerMinute != 7 ||
		made.Limits.TokensPerMinute != 8 || made.Limits.ConcurrentRequests != 9 || made.ExpiresAt == nil || time.Until(*made.ExpiresAt) > time.Hour || made.RevokedAt != nil {
		t.Errorf("made %+v", made)
	}
	budgets, err := h.keys.Budgets(t.Context(), budget.Owner{Kind: budget.Key, ID: made.ID})
	if err != nil || len(budgets) != 2 || budgets[0].Hard != 1000 || budgets[0].Soft != 800 || budgets[1].Hard != 5_000_000 || budgets[1].Soft != 1 {
		t.Errorf("its budgets are %+v, %v", budgets, err)
	}
	var changed keyTold
	h.get(t, http.MethodPatch, "/keys/"+made.ID, `{"name":"store","expires_in_seconds":0,"requests_per_minute":0}`, &changed)
	if changed.Key != "" || changed.Name != "store" || changed.ExpiresAt != nil || changed.Limits.RequestsPerMinute != 0 || changed.Limits.TokensPerMinute != 8 || changed.Profile != "free" {
		t.Errorf("changed %+v", changed)
	}
	var rotated, again keyTold
	h.get(t, http.MethodPost, "/keys/"+made.ID+"/rotate", `{"grace_seconds":60}`, &rotated)
	if rotated.ID != made.ID || rotated.Key == made.Key || !h.taken(t, rotated.Key) || !h.taken(t, made.Key) || rotated.ReplacedUntil == nil || time.Until(*rotated.ReplacedUntil) > time.Minute {
		t.Errorf("rotated %+v", rotated)
	}
	h.get(t, http.MethodPost, "/keys/"+made.ID+"/rotate", `{"grace_seconds":0}`, &again)
	if h.taken(t, made.Key) || h.taken(t, rotated.Key) || !h.taken(t, again.Key) || again.ReplacedUntil != nil {
		t.Errorf("rotated at once %+v", again)
	}
	for range 2 { // a second time changes nothing
		if status, text := h.ask(t, http.MethodDelete, "/keys/"+made.ID, ""); status != http.StatusNoContent || text != "" {
			t.Errorf("revoke: %d %s", status, text)
		}
	}
	if h.taken(t, again.Key) {
		t.Error("a revoked key is taken")
	}
	h.refuses(
		t, refusal{http.MethodPatch, "/keys/" + made.ID, `{"name":"x"}`, http.StatusConflict, "id"},
		refusal{http.MethodPost, "/keys/" + made.ID + "/rotate", `{}`, http.StatusConflict, "id"},
	)
	noted := h.noted(t)
	want := []string{
		"key.created " + made.ID + " profile=free, requests_per_minute=7", "budget.set " + made.ID + " key, tokens per day, hard=1000, soft=800",
		"budget.set " + made.ID + " key, usd per month", "key.updated " + made.ID + " requests_per_minute=0", "key.rotated " + made.ID, "key.rotated " + made.ID, "key.revoked " + made.ID,
	}
	if !slices.EqualFunc(noted, want, strings.HasPrefix) {
		t.Errorf("noted %q", noted)
	}
	for _, text := range []string{made.Key, rotated.Key, again.Key, h.admin} {
		if strings.Contains(strings.Join(noted, "\n"), text) {
			t.Error("the audit log has a key's text")
		}
	}
}

func TestAdminKeysNeedNoProject(t *testing.T) {
	h := newHall(t)
	var made keyTold
	h.get(t, http.MethodPost, "/keys", `{"admin":true,"name":"second"}`, &made)
	if !made.Admin || made.ProjectID != "admin" {
		t.Errorf("made %+v", made)
	}
	if response := h.request(t, http.MethodGet, "/keys", "", "X-Api-Key", made.Key); response.StatusCode != http.StatusOK {
		t.Errorf("it can't administer: %d", response.StatusCode)
	}
}

// TestKeysAreListed looks at what a list tells of spending, in the time zone of each
// project, and that it tells no text.
func TestKeysAreListed(t *testing.T) {
	h := newHall(t)
	if err := h.keys.SetProject(t.Context(), apikey.Project{ID: "alpha", TimeZone: "Asia/Tokyo"}); err != nil {
		t.Fatal(err)
	}
	idle, idleID := h.make(t, apikey.Create{ProjectID: "alpha"})
	h.spend(t, h.keyID, nil)
	h.spend(t, h.keyID, func(e *gateway.Entry) { // long ago
		e.Time = e.Time.AddDate(0, 0, -10)
	})
	h.spend(t, h.keyID, func(e *gateway.Entry) {
		e.Result.CostMicroUSD, e.Charged = nil, budget.Amount{Tokens: 100, MicroUSD: 50}
	})
	status, text := h.ask(t, http.MethodGet, "/keys", "")
	for _, secret := range []string{h.admin, h.key, idle} {
		if status != http.StatusOK || strings.Contains(text, secret) {
			t.Errorf("%d %s", status, text)
		}
	}
	var list struct {
		Keys []keyTold `json:"keys"`
	}
	h.get(t, http.MethodGet, "/keys", "", &list)
	if len(list.Keys) != 3 || list.Keys[0].ID != h.adminID || !list.Keys[0].Admin || list.Keys[1].ID != h.keyID || list.Keys[2].ID != idleID {
		t.Fatalf("%+v", list)
	}
	used := list.Keys[1]
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	if today := budget.Day.Start(time.Now().In(tokyo)); used.LastUsedAt == nil || !used.LastUsedAt.Equal(today) {
		t.Errorf("last used at %v, want %v", used.LastUsedAt, today)
	}
	if used.Spent.TodayTokens != 15+15+100 || used.Spent.TodayMicroUSD != 1000+50 {
		t.Errorf("spent %+v", used.Spent)
	}
	if unused := list.Keys[2]; unused.LastUsedAt != nil || unused.Spent.TodayTokens != 0 {
		t.Errorf("an unused key has %+v", unused)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	h := newHall(t)
	before := len(h.noted(t))
	post, patch, rotate := func(body string, status int, param string) refusal {
		return refusal{http.MethodPost, "/keys", body, status, param}
	}, func(body, param string) refusal {
		return refusal{http.MethodPatch, "/keys/" + h.keyID, body, http.StatusBadRequest, param}
	}, func(body, param string) refusal {
		return refusal{http.MethodPost, "/keys/" + h.keyID + "/rotate", body, http.StatusBadRequest, param}
	}
	const bad = http.StatusBadRequest
	h.refuses(
		t, post(`{}`, bad, "project_id"), post(`{"project_id":"a b"}`, bad, "project_id"), post(`{"project_id":"a","profile":"royal"}`, bad, "profile"),
		post(`{"project_id":"a","name":"`+strings.Repeat("x", 129)+`"}`, bad, "name"), post(`{"project_id":"a","name":7}`, bad, "name"),
		post(`{"project_id":"a","requests_per_minute":-1}`, bad, "requests_per_minute"), post(`{"project_id":"a","tokens_per_minute":"x"}`, bad, "tokens_per_minute"),
		post(`{"project_id":"a","concurrent_requests":1000001}`, bad, "concurrent_requests"), post(`{"project_id":"a","expires_in_seconds":-1}`, bad, "expires_in_seconds"),
		post(`{"project_id":"a","expires_in_seconds":99999999999999}`, bad, "expires_in_seconds"), post(`{"project_id":"a","rate":1}`, bad, "rate"),
		post(`{"project_id":"a","budgets":[{"period":"year","unit":"usd","hard":1}]}`, bad, "budgets.period"),
		post(`{"project_id":"a","budgets":[{"period":"day","unit":"euro","hard":1}]}`, bad, "budgets.unit"),
		post(`{"project_id":"a","budgets":[{"period":"day","unit":"usd","hard":1,"soft_percent":101}]}`, bad, "budgets.soft_percent"),
		post(`{"project_id":"a","budgets":[{"period":"day","unit":"usd","hard":1,"soft_percent":1,"soft":1}]}`, bad, "budgets.soft"),
		post(`{"project_id":"a","budgets":[{"period":"day","unit":"usd","hard":1},{"period":"day","unit":"usd","hard":2}]}`, bad, "budgets"),
		post(`{"admin":true,"budgets":[{"period":"day","unit":"usd","hard":1}]}`, bad, "budgets"), post(`[]`, bad, ""), post(`{`, bad, ""),
		patch(`{}`, ""), patch(`{"profile":"royal"}`, "profile"), patch(`{"tokens_per_minute":-1}`, "tokens_per_minute"), patch(`{"admin":true}`, "admin"), patch(`{"expires_in_seconds":-5}`, "expires_in_seconds"),
		rotate(`{"grace_seconds":-1}`, "grace_seconds"), rotate(`{"grace_seconds":99999999999}`, "grace_seconds"), rotate(`{"grace":1}`, "grace"),
	)
	// A key is named by its id alone: a path is in logs.
	account, err := h.keys.Find(t.Context(), h.keyID)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"key_0", h.key, account.Key.Prefix, "x"} {
		h.refuses(
			t, refusal{http.MethodPatch, "/keys/" + id, `{"name":"x"}`, http.StatusNotFound, "id"},
			refusal{http.MethodPost, "/keys/" + id + "/rotate", `{}`, http.StatusNotFound, "id"}, refusal{http.MethodDelete, "/keys/" + id, "", http.StatusNotFound, "id"},
		)
	}
	if !h.taken(t, h.key) || len(h.noted(t)) != before {
		t.Errorf("something was changed: %q", h.noted(t))
	}
}

// TestRevokingTheKeyOfOnesSession ends the session with it.
func TestRevokingTheKeyOfOnesSession(t *testing.T) {
	h := newHall(t)
	other, otherID := h.make(t, apikey.Create{ProjectID: "house", Admin: true})
	opened := h.request(t, http.MethodPost, "/session", `{"key":"`+other+`"}`)
	if opened.StatusCode != http.StatusNoContent || len(opened.Cookies) != 1 {
		t.Fatalf("%d, %v", opened.StatusCode, opened.Cookies)
	}
	cookie := opened.Cookies[0].Name + "=" + opened.Cookies[0].Value
	if response := h.request(t, http.MethodDelete, "/keys/"+otherID, "", "Cookie", cookie); response.StatusCode != http.StatusForbidden {
		t.Errorf("without the header: %d", response.StatusCode)
	}
	response := h.request(t, http.MethodDelete, "/keys/"+otherID, "", "Cookie", cookie, "X-Claude-Dashboard", "1")
	if cookies := response.Cookies; response.StatusCode != http.StatusNoContent || len(cookies) != 1 || cookies[0].MaxAge >= 0 || cookies[0].Value != "" {
		t.Errorf("%d, %v", response.StatusCode, cookies)
	}
	response = h.request(t, http.MethodGet, "/keys", "", "Cookie", cookie)
	if body, err := io.ReadAll(response.Body); response.StatusCode != http.StatusUnauthorized || err != nil {
		t.Errorf("the session goes on: %d %s, %v", response.StatusCode, body, err)
	}
}

// TestOnlyAdminKeysMay asks for every endpoint without a key, and with a caller's.
func TestOnlyAdminKeysMay(t *testing.T) {
	h := newHall(t)
	asked := 0
	for _, o := range h.handler.Operations() {
		if o.Public {
			continue
		}
		asked++
		path := strings.NewReplacer("{id}", h.keyID, "{n}", "1", "{path}", "x").Replace(strings.TrimPrefix(o.Path, "/admin/v1"))
		for key, want := range map[string]int{"": http.StatusUnauthorized, h.key: http.StatusForbidden} {
			response := h.request(t, o.Method, path, `{}`, "X-Api-Key", key)
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != want || !strings.Contains(string(body), `"detail"`) {
				t.Errorf("%s %s with %q: %d %s, want %d", o.Method, o.Path, key, response.StatusCode, body, want)
			}
		}
	}
	if asked < 25 {
		t.Errorf("only %d endpoints", asked)
	}
	if noted := h.noted(t); len(noted) != 0 {
		t.Errorf("something was done: %q", noted)
	}
}

func TestProjectsAndProfiles(t *testing.T) {
	h := newHall(t)
	if err := h.keys.SetProject(t.Context(), apikey.Project{ID: "empty", TimeZone: "Europe/Berlin", Limits: gateway.RateLimits{RequestsPerMinute: 3}}); err != nil {
		t.Fatal(err)
	}
	if err := h.keys.SetProfile(t.Context(), apikey.Profile{Name: "own", Permissions: gateway.Permissions{AllowedTools: []string{"Read"}, MaxCostMicroUSD: 1_500_000}}); err != nil {
		t.Fatal(err)
	}
	_, gone := h.make(t, apikey.Create{ProjectID: "alpha"})
	if _, err := h.keys.Revoke(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/projects": {`{"id":"alpha","time_zone":"UTC","limits":{"requests_per_minute":0,"tokens_per_minute":0,"concurrent_requests":0},"keys":1}`, `{"id":"empty","time_zone":"Europe/Berlin","limits":{"requests_per_minute":3,`},
		"/profiles": {`{"name":"free","built_in":true,"permissions":{`, `{"name":"enterprise","built_in":true,`, `"keys":1}`, `{"name":"own","built_in":false,"permissions":{"allowed_tools":["Read"],`, `"max_cost_per_task":1.5`},
	} {
		status, text := h.ask(t, http.MethodGet, path, "")
		for _, part := range want {
			if status != http.StatusOK || !strings.Contains(text, part) {
				t.Errorf("%s: %d %s\nlacks %s", path, status, text, part)
			}
		}
	}
}
