package adminapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/usage"
)

const (
	pathKeys   = "/admin/v1/keys"
	pathKey    = "/admin/v1/keys/{id}"
	pathRotate = "/admin/v1/keys/{id}/rotate"

	// adminProject is the project of an admin key for which none is named: it spends
	// nothing there.
	adminProject = "admin"
	// defaultGrace is how long the former text of a rotated key is taken where nobody says.
	defaultGrace = 24 * time.Hour
	// longestExpiry keeps durations within bounds.
	longestExpiry = 100 * 366 * 24 * time.Hour
)

// limitsView are rate limits; 0: none.
type limitsView struct {
	RequestsPerMinute  int `json:"requests_per_minute"`
	TokensPerMinute    int `json:"tokens_per_minute"`
	ConcurrentRequests int `json:"concurrent_requests"`
}

func viewLimits(l gateway.RateLimits) limitsView {
	return limitsView{l.RequestsPerMinute, l.TokensPerMinute, l.ConcurrentRequests}
}

func limitsSchema() *openapi.Schema {
	return openapi.Members("AdminLimits", "Of a key, or of all keys of a project together; 0: no limit.",
		openapi.Always("requests_per_minute", openapi.Int("")), openapi.Always("tokens_per_minute", openapi.Int("")), openapi.Always("concurrent_requests", openapi.Int("")))
}

// keyView is a key as administrators see it: all but its text.
type keyView struct {
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	Prefix        string     `json:"prefix"`
	ProjectID     string     `json:"project_id"`
	Profile       string     `json:"profile"`
	Admin         bool       `json:"admin"`
	CreatedAt     time.Time  `json:"created_at"`
	ExpiresAt     *time.Time `json:"expires_at"`
	RevokedAt     *time.Time `json:"revoked_at"`
	ReplacedUntil *time.Time `json:"replaced_until,omitzero"`
	LastUsedAt    *time.Time `json:"last_used_at,omitzero"`
	Limits        limitsView `json:"limits"`
	Spent         spentView  `json:"spent"`
}

type spentView struct {
	TodayTokens   int64 `json:"today_tokens"`
	TodayMicroUSD int64 `json:"today_micro_usd"`
}

func viewKey(k *apikey.Key, now time.Time) keyView {
	v := keyView{
		ID: k.ID, Name: k.Name, Prefix: k.Prefix, ProjectID: k.ProjectID, Profile: k.Profile, Admin: k.Admin,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, RevokedAt: k.RevokedAt, Limits: viewLimits(k.Limits),
	}
	if k.FormerUntil != nil && k.FormerUntil.After(now) {
		v.ReplacedUntil = k.FormerUntil
	}
	return v
}

func keyMembers() []openapi.Property {
	return []openapi.Property{
		openapi.Always("id", openapi.Text("")),
		openapi.Always("name", openapi.Text("For people; may be empty.")),
		openapi.Always("prefix", openapi.Text("The visible beginning of its text.")),
		openapi.Always("project_id", openapi.Text("")),
		openapi.Always("profile", openapi.Text("What it permits.")),
		openapi.Always("admin", openapi.Flag("It administers the service and generates nothing.")),
		openapi.Always("created_at", instant("")),
		openapi.Always("expires_at", openapi.Nullable(instant("null: never."))),
		openapi.Always("revoked_at", openapi.Nullable(instant("null: it isn't."))),
		openapi.Maybe("replaced_until", instant("Until then its text before the last rotation is taken too.")),
		openapi.Maybe("last_used_at", instant("The first moment of the last day, in its project's time zone, on which it has used something.")),
		openapi.Always("limits", limitsSchema()),
		openapi.Always("spent", openapi.Members("AdminKeySpent", "What budgets count of the present day in the project's time zone.",
			openapi.Always("today_tokens", openapi.Int("")), openapi.Always("today_micro_usd", openapi.Int("Millionths of a US dollar.")))),
	}
}

// instant is the schema of a moment.
func instant(description string) *openapi.Schema {
	return openapi.Text(strings.TrimSpace(description + " RFC 3339, in UTC."))
}

func (h *Handler) keyEndpoints() []endpoint {
	id := openapi.Parameter{Name: "id", In: "path", Description: "The key's id, not its text.", Schema: openapi.Text("")}
	key := openapi.Members("AdminKey", "", keyMembers()...)
	made := openapi.Members("AdminKeyMade", "A key whose text is new.",
		append([]openapi.Property{openapi.Always("key", openapi.Text("Its text, which is told here and never again: only its hash is kept."))}, keyMembers()...)...)
	limits := []openapi.Property{
		openapi.Maybe("requests_per_minute", openapi.Int("0: no limit.")), openapi.Maybe("tokens_per_minute", openapi.Int("0: no limit.")), openapi.Maybe("concurrent_requests", openapi.Int("0: no limit.")),
	}
	common := append([]openapi.Property{
		openapi.Maybe("name", openapi.Text("At most 128 characters.")), openapi.Maybe("profile", openapi.Text("free, pro, enterprise or one of the service's own.")),
		openapi.Maybe("expires_in_seconds", openapi.Int("From now; 0: never.")),
	}, limits...)
	wished := openapi.Members("AdminBudgetWish", "", budgetWishMembers()...)
	return []endpoint{
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathKeys, ID: "adminKeys", Summary: "All keys, also expired and revoked ones, the oldest first.",
				Responses: answers(http.StatusOK, "The keys.", openapi.Members("AdminKeyList", "", openapi.Always("keys", openapi.List(key)))),
			},
			serve: h.listKeys,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodPost, Path: pathKeys, ID: "adminCreateKey", Summary: "Create a key.",
				Description: "An admin key has no budgets, and its `project_id` may be left out.",
				Request: openapi.Members("AdminKeyWish", "", append(append([]openapi.Property{
					openapi.Maybe("project_id", openapi.Text("1 to 64 of A-Z a-z 0-9 . _ -. Required but for an admin key.")), openapi.Maybe("admin", openapi.Flag("It administers the service and generates nothing.")),
				}, common...), openapi.Maybe("budgets", openapi.List(wished)))...),
				Responses: answers(http.StatusCreated, "It works from now on.", made),
			},
			serve: h.createKey,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodPatch, Path: pathKey, ID: "adminUpdateKey", Summary: "Change a key's name, profile, limits or expiry.",
				Description: "What isn't named stays.", Parameters: []openapi.Parameter{id},
				Request: openapi.Members("AdminKeyChange", "", common...), Responses: answers(http.StatusOK, "What it is now.", key),
			},
			serve: h.updateKey,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodPost, Path: pathRotate, ID: "adminRotateKey", Summary: "Give a key another text.",
				Parameters: []openapi.Parameter{id},
				Request:    openapi.Members("AdminRotation", "", openapi.Maybe("grace_seconds", openapi.Int("How long the present text is taken too; absent: a day. 0: it ends at once."))),
				Responses:  answers(http.StatusOK, "It works from now on.", made),
			},
			serve: h.rotateKey,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodDelete, Path: pathKey, ID: "adminRevokeKey", Summary: "Revoke a key.",
				Description: "It can't be undone. Who revokes the key of its own session has ended that.",
				Parameters:  []openapi.Parameter{id}, Responses: answers(http.StatusNoContent, "It is refused within a second.", nil),
			},
			serve: h.revokeKey,
		},
	}
}

// accounts makes and changes accounts in an administrator's name.
func (h *Handler) accounts(who *administrator) *apikey.Keys {
	return apikey.NewKeys(apikey.Options{Store: h.options.Accounts, Changed: func(ctx context.Context, changes []apikey.Change) error {
		events := make([]audit.Event, 0, len(changes))
		for _, c := range changes {
			events = append(events, audit.Event{
				Actor: who.KeyID, Address: who.Address, RequestID: who.RequestID, Action: c.Action, Target: c.Target, Project: c.Project, Detail: c.Detail,
			})
		}
		return audit.Write(ctx, h.options.Audit, events...)
	}})
}

// places are all projects, with their time zones.
func (h *Handler) places(ctx context.Context) ([]usage.Place, error) {
	projects, err := h.options.Keys.Projects(ctx)
	if err != nil {
		return nil, err
	}
	places := make([]usage.Place, len(projects))
	for i, p := range projects {
		zone, err := time.LoadLocation(p.TimeZone)
		if err != nil {
			return nil, err
		}
		places[i] = usage.Place{ProjectID: p.ID, Zone: zone}
	}
	return places, nil
}

func (h *Handler) listKeys(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	keys, err := h.options.Keys.List(r.Context())
	if err != nil {
		return err
	}
	views := make([]keyView, len(keys))
	now := time.Now()
	for i := range keys {
		views[i] = viewKey(&keys[i], now)
	}
	if err := h.fillSpent(r.Context(), views); err != nil {
		return err
	}
	return write(w, http.StatusOK, struct {
		Keys []keyView `json:"keys"`
	}{views})
}

// fillSpent says of keys what they have spent today, and when they were used last.
func (h *Handler) fillSpent(ctx context.Context, views []keyView) error {
	places, err := h.places(ctx)
	if err != nil {
		return err
	}
	today, err := h.reports().Sums(ctx, places, "", func(now time.Time, zone *time.Location) (usage.Filter, error) {
		return usage.Filter{Since: budget.Day.Start(now.In(zone))}, nil
	})
	if err != nil {
		return err
	}
	spent := map[string]usage.Total{}
	for _, group := range usage.Group(today, func(s usage.Dated) string { return s.KeyID }) {
		spent[group.Name] = group.Total
	}
	last, err := h.options.Ledger.LastDays(ctx)
	if err != nil {
		return err
	}
	for i := range views {
		v := &views[i]
		t := spent[v.ID]
		v.Spent = spentView{t.Usage.Total() + t.Charged.Tokens, t.CostMicroUSD + t.Charged.MicroUSD}
		if day, used := last[v.ID]; used {
			v.LastUsedAt = &day
		}
	}
	return nil
}

// writeKey answers with a key; text is "" where it isn't new.
func (h *Handler) writeKey(ctx context.Context, w http.ResponseWriter, status int, text string, key *apikey.Key) error {
	views := []keyView{viewKey(key, time.Now())}
	if err := h.fillSpent(ctx, views); err != nil && text == "" {
		return err // what is new is told whatever else can't be
	}
	return write(w, status, struct {
		Key string `json:"key,omitzero"`
		keyView
	}{text, views[0]})
}

// keyWish is the body of what makes or changes a key.
type keyWish struct {
	Name               *string `json:"name"`
	Profile            *string `json:"profile"`
	ExpiresIn          *int64  `json:"expires_in_seconds"`
	RequestsPerMinute  *int    `json:"requests_per_minute"`
	TokensPerMinute    *int    `json:"tokens_per_minute"`
	ConcurrentRequests *int    `json:"concurrent_requests"`
}

// expiry gives when the key is to expire; the zero time: never, nil: nothing is said.
func (k *keyWish) expiry() (*time.Time, error) {
	if k.ExpiresIn == nil {
		return nil, nil
	}
	if *k.ExpiresIn < 0 || *k.ExpiresIn > int64(longestExpiry/time.Second) {
		return nil, apierror.Invalid("expires_in_seconds", "expires_in_seconds: must be between 0 (never) and %d", int64(longestExpiry/time.Second))
	}
	at := time.Time{}
	if *k.ExpiresIn > 0 {
		at = time.Now().Add(time.Duration(*k.ExpiresIn) * time.Second)
	}
	return &at, nil
}

func (h *Handler) createKey(w http.ResponseWriter, r *http.Request, who *administrator) error {
	var wish struct {
		keyWish
		ProjectID string       `json:"project_id"`
		Admin     bool         `json:"admin"`
		Budgets   []budgetWish `json:"budgets"`
	}
	if err := read(w, r, &wish); err != nil {
		return err
	}
	if wish.Admin && wish.ProjectID == "" {
		wish.ProjectID = adminProject
	}
	create := apikey.Create{
		ProjectID: wish.ProjectID, Name: orZero(wish.Name), Profile: orZero(wish.Profile), Admin: wish.Admin,
		RequestsPerMinute: wish.RequestsPerMinute, TokensPerMinute: orZero(wish.TokensPerMinute), ConcurrentRequests: orZero(wish.ConcurrentRequests),
	}
	at, err := wish.expiry()
	if err != nil {
		return err
	}
	if at != nil && !at.IsZero() {
		create.ExpiresAt = at
	}
	for _, b := range wish.Budgets {
		limit, err := b.limit()
		if err != nil {
			return within("budgets", err)
		}
		create.Budgets = append(create.Budgets, limit)
	}
	text, key, err := h.accounts(who).Create(r.Context(), create)
	if err != nil {
		return renamed(err, rename{"budget", "budgets"})
	}
	return h.writeKey(r.Context(), w, http.StatusCreated, text, &key)
}

func orZero[T any](value *T) T {
	if value == nil {
		return *new(T)
	}
	return *value
}

// key finds a key by its id. Nothing else names one here: a path is in logs.
func (h *Handler) key(r *http.Request) (apikey.Key, error) {
	id := r.PathValue("id")
	missing := notFound("id", "there is no such key: its id is needed")
	if apikey.WellFormed(id) {
		return apikey.Key{}, missing
	}
	account, err := h.options.Keys.Find(r.Context(), id)
	if errors.Is(err, apikey.ErrNotFound) || errors.Is(err, apikey.ErrAmbiguous) || err == nil && account.Key.ID != id {
		return apikey.Key{}, missing
	}
	return account.Key, err
}

func (h *Handler) updateKey(w http.ResponseWriter, r *http.Request, who *administrator) error {
	var wish keyWish
	if err := read(w, r, &wish); err != nil {
		return err
	}
	if wish == (keyWish{}) {
		return apierror.New(apierror.BadRequest, "nothing to change: name what shall be another")
	}
	at, err := wish.expiry()
	if err != nil {
		return err
	}
	key, err := h.key(r)
	if err != nil {
		return err
	}
	key, err = h.accounts(who).Update(r.Context(), key.ID, apikey.Update{
		Name: wish.Name, Profile: wish.Profile, RequestsPerMinute: wish.RequestsPerMinute, TokensPerMinute: wish.TokensPerMinute,
		ConcurrentRequests: wish.ConcurrentRequests, ExpiresAt: at,
	})
	if err != nil {
		return revoked(err)
	}
	return h.writeKey(r.Context(), w, http.StatusOK, "", &key)
}

func (h *Handler) rotateKey(w http.ResponseWriter, r *http.Request, who *administrator) error {
	grace := int64(defaultGrace / time.Second)
	wish := struct {
		Grace *int64 `json:"grace_seconds"`
	}{}
	if err := read(w, r, &wish); err != nil {
		return err
	}
	if wish.Grace != nil {
		grace = *wish.Grace
	}
	if most := int64(apikey.MaxGrace / time.Second); grace < 0 || grace > most {
		return apierror.Invalid("grace_seconds", "grace_seconds: must be between 0 and %d", most)
	}
	key, err := h.key(r)
	if err != nil {
		return err
	}
	text, key, err := h.accounts(who).Rotate(r.Context(), key.ID, time.Duration(grace)*time.Second)
	if err != nil {
		return revoked(err)
	}
	return h.writeKey(r.Context(), w, http.StatusOK, text, &key)
}

func (h *Handler) revokeKey(w http.ResponseWriter, r *http.Request, who *administrator) error {
	key, err := h.key(r)
	if err != nil {
		return err
	}
	if _, err := h.accounts(who).Revoke(r.Context(), key.ID); err != nil {
		return err
	}
	if who.session != nil && key.ID == who.KeyID {
		setCookie(w, r, "", -time.Second)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// revoked gives the refusal to change a key that is revoked the status of what can't be
// done as things stand.
func revoked(err error) error {
	var e *apierror.Error
	if !errors.As(err, &e) || e.Param != "key" {
		return err
	}
	refusal := *e
	refusal.Code, refusal.Param = codeConflict, "id"
	return &refusal
}

// rename says what a field of another room is called in a body.
type rename struct{ from, to string }

// renamed gives an error that names a field of another room the name that the body has for
// it: for the field itself and for what is in it. The first name that fits counts.
func renamed(err error, names ...rename) error {
	var e *apierror.Error
	if !errors.As(err, &e) {
		return err
	}
	for _, name := range names {
		rest, found := strings.CutPrefix(e.Param, name.from)
		if !found || rest != "" && rest[0] != '.' {
			continue
		}
		said := *e
		said.Param = strings.TrimPrefix(name.to+rest, ".")
		if text, found := strings.CutPrefix(e.Message, e.Param); found {
			said.Message = said.Param + text
		}
		return &said
	}
	return err
}

// within says that the field that an error names is in another one.
func within(field string, err error) error {
	var e *apierror.Error
	if !errors.As(err, &e) || e.Param == "" {
		return err
	}
	return renamed(err, rename{e.Param, field + "." + e.Param})
}
