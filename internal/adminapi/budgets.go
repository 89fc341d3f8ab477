package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/usage"
)

const pathBudgets = "/admin/v1/budgets"

// budgetView is a budget with what is spent, held and left of it in its present period:
// in tokens, or in millionths of a US dollar.
type budgetView struct {
	OwnerKind   string     `json:"owner_kind"`
	OwnerID     string     `json:"owner_id"`
	OwnerName   string     `json:"owner_name,omitzero"`
	ProjectID   string     `json:"project_id"`
	Period      string     `json:"period"`
	Unit        string     `json:"unit"`
	Hard        int64      `json:"hard"`
	Soft        int64      `json:"soft"`
	SoftPercent int        `json:"soft_percent"`
	Spent       int64      `json:"spent"`
	Held        int64      `json:"held"`
	Left        *int64     `json:"left"`
	ResetsAt    *time.Time `json:"resets_at"`
}

// budgetWish is a budget as somebody wishes it, without its owner.
type budgetWish struct {
	Period      string `json:"period"`
	Unit        string `json:"unit"`
	Hard        int64  `json:"hard"`
	SoftPercent *int   `json:"soft_percent"`
	Soft        *int64 `json:"soft"`
}

func budgetWishMembers() []openapi.Property {
	return []openapi.Property{
		openapi.Always("period", openapi.Words(periodWords()...)),
		openapi.Always("unit", openapi.Words(string(budget.Tokens), string(budget.USD))),
		openapi.Maybe("hard", openapi.Int("What is never passed, in tokens or in millionths of a US dollar; 0: nothing.")),
		openapi.Maybe("soft_percent", &openapi.Schema{Type: openapi.Integer, Minimum: 0, Maximum: 100, Description: "Tell when so much of `hard` is spent; 0: don't."}),
		openapi.Maybe("soft", openapi.Int("The same as an amount, in place of soft_percent.")),
	}
}

func periodWords() []string {
	words := make([]string, len(budget.Periods))
	for i, p := range budget.Periods {
		words[i] = string(p)
	}
	return words
}

// limit gives what is wished, without an owner. What Keys checks isn't looked at.
func (b *budgetWish) limit() (budget.Limit, error) {
	limit := budget.Limit{Period: budget.Period(b.Period), Unit: budget.Unit(b.Unit), Hard: b.Hard}
	switch {
	case b.Soft != nil && b.SoftPercent != nil:
		return limit, apierror.Invalid("soft", "soft: can't be set beside soft_percent")
	case b.Soft != nil:
		limit.Soft = *b.Soft
	case b.SoftPercent == nil || *b.SoftPercent == 0:
	case *b.SoftPercent < 0 || *b.SoftPercent > 100:
		return limit, apierror.Invalid("soft_percent", "soft_percent: must be between 0 (none) and 100")
	case b.Hard == 0:
		return limit, apierror.Invalid("soft_percent", "soft_percent: is of hard, which is 0")
	case b.Hard > 0:
		limit.Soft = budget.Percent(b.Hard, *b.SoftPercent)
	}
	return limit, nil
}

func (h *Handler) budgetEndpoints() []endpoint {
	ownerKind := openapi.Words(string(budget.Key), string(budget.Project))
	view := openapi.Members("AdminBudget", "Amounts are in tokens or, where unit is usd, in millionths of a US dollar.",
		openapi.Always("owner_kind", ownerKind),
		openapi.Always("owner_id", openapi.Text("The id of a key or a project.")),
		openapi.Maybe("owner_name", openapi.Text("The key's name.")),
		openapi.Always("project_id", openapi.Text("")),
		openapi.Always("period", openapi.Words(periodWords()...)),
		openapi.Always("unit", openapi.Words(string(budget.Tokens), string(budget.USD))),
		openapi.Always("hard", openapi.Int("What is never passed; 0: nothing.")),
		openapi.Always("soft", openapi.Int("What is told of when it is passed; 0: nothing.")),
		openapi.Always("soft_percent", openapi.Int("How much of hard that is; 0 where there isn't both.")),
		openapi.Always("spent", openapi.Int("In the present period.")),
		openapi.Always("held", openapi.Int("What requests that run on this node may still spend.")),
		openapi.Always("left", openapi.Nullable(openapi.Int("What is neither spent nor held of hard."))),
		openapi.Always("resets_at", openapi.Nullable(instant("The end of the period. null: it has none."))),
	)
	owner := []openapi.Property{openapi.Always("owner_kind", ownerKind), openapi.Always("owner_id", openapi.Text("The id of a key or a project."))}
	return []endpoint{
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathBudgets, ID: "adminBudgets", Summary: "All budgets, with what is spent, held and left of them.",
				Responses: answers(http.StatusOK, "Those of keys before those of projects.", openapi.Members("AdminBudgetList", "", openapi.Always("budgets", openapi.List(view)))),
			},
			serve: h.listBudgets,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodPut, Path: pathBudgets, ID: "adminSetBudget", Summary: "Set a budget, in place of the one of the same owner, period and unit.",
				Request: openapi.Members("AdminBudgetSet", "", append(owner, budgetWishMembers()...)...), Responses: answers(http.StatusOK, "It holds from now on.", view),
			},
			serve: h.setBudget,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodDelete, Path: pathBudgets, ID: "adminRemoveBudget", Summary: "Remove a budget.",
				Parameters: []openapi.Parameter{
					{Name: "owner_kind", In: "query", Schema: ownerKind}, {Name: "owner_id", In: "query", Schema: openapi.Text("")},
					{Name: "period", In: "query", Schema: openapi.Words(periodWords()...)}, {Name: "unit", In: "query", Schema: openapi.Words(string(budget.Tokens), string(budget.USD))},
				},
				Responses: answers(http.StatusNoContent, "It holds no longer.", nil),
			},
			serve: h.removeBudget,
		},
	}
}

func (h *Handler) reports() *usage.Reports {
	return usage.NewReports(usage.ReportsOptions{Store: h.options.Ledger})
}

// balances gives budgets with what is spent, held and left of them.
func (h *Handler) balances(ctx context.Context, limits []budget.Limit) ([]budgetView, error) {
	keys, err := h.options.Keys.List(ctx)
	if err != nil {
		return nil, err
	}
	places, err := h.places(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*apikey.Key, len(keys))
	for i := range keys {
		byID[keys[i].ID] = &keys[i]
	}
	zones := make(map[string]*time.Location, len(places))
	for _, p := range places {
		zones[p.ProjectID] = p.Zone
	}
	projectOf := func(owner budget.Owner) string {
		if key := byID[owner.ID]; owner.Kind == budget.Key && key != nil {
			return key.ProjectID
		}
		return owner.ID
	}
	spent, err := h.reports().Balances(ctx, limits, func(owner budget.Owner) (*time.Location, error) {
		if zone := zones[projectOf(owner)]; zone != nil {
			return zone, nil
		}
		return nil, fmt.Errorf("the owner %s %s of a budget isn't there", owner.Kind, owner.ID)
	})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	views := make([]budgetView, len(spent))
	for i, b := range spent {
		project := projectOf(b.Owner)
		v := budgetView{
			OwnerKind: string(b.Owner.Kind), OwnerID: b.Owner.ID, ProjectID: project, Period: string(b.Period), Unit: string(b.Unit),
			Hard: b.Hard, Soft: b.Soft, Spent: b.Spent, Held: h.options.Held(project, b.Limit, now.In(zones[project])),
		}
		if key := byID[b.Owner.ID]; b.Owner.Kind == budget.Key && key != nil {
			v.OwnerName = key.Name
		}
		if b.Hard > 0 {
			// The nearest whole percent; what is told of isn't nothing.
			v.SoftPercent = int((float64(b.Soft)/float64(b.Hard))*100 + 0.5)
		}
		if left, limited := b.Left(); limited {
			left = max(0, left-v.Held)
			v.Left = &left
		}
		if !b.Ends.IsZero() {
			ends := b.Ends.UTC()
			v.ResetsAt = &ends
		}
		views[i] = v
	}
	return views, nil
}

func (h *Handler) listBudgets(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	limits, err := h.options.Keys.ListBudgets(r.Context())
	if err != nil {
		return err
	}
	views, err := h.balances(r.Context(), limits)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, struct {
		Budgets []budgetView `json:"budgets"`
	}{views})
}

func (h *Handler) setBudget(w http.ResponseWriter, r *http.Request, who *administrator) error {
	var wish struct {
		OwnerKind string `json:"owner_kind"`
		OwnerID   string `json:"owner_id"`
		budgetWish
	}
	if err := read(w, r, &wish); err != nil {
		return err
	}
	limit, err := wish.limit()
	if err != nil {
		return err
	}
	limit.Owner = budget.Owner{Kind: budget.Kind(wish.OwnerKind), ID: wish.OwnerID}
	if limit.Hard == 0 && limit.Soft == 0 {
		return apierror.Invalid("hard", "hard: must be more than 0 where soft isn't; DELETE takes a budget away")
	}
	if err := h.change(r.Context(), who, limit); err != nil {
		return err
	}
	views, err := h.balances(r.Context(), []budget.Limit{limit})
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, views[0])
}

// change sets a budget, or removes one without a limit.
func (h *Handler) change(ctx context.Context, who *administrator, limit budget.Limit) error {
	if limit.Owner.ID == "" || apikey.WellFormed(limit.Owner.ID) {
		return apierror.Invalid("owner_id", "owner_id: the id of a key or a project is needed")
	}
	err := h.accounts(who).SetBudget(ctx, limit)
	return renamed(err, rename{"budget.owner", "owner_kind"}, rename{"budget", ""}, rename{"project_id", "owner_id"}, rename{"key", "owner_id"})
}

func (h *Handler) removeBudget(w http.ResponseWriter, r *http.Request, who *administrator) error {
	query := r.URL.Query()
	owner := budget.Owner{Kind: budget.Kind(query.Get("owner_kind")), ID: query.Get("owner_id")}
	if owner.Kind != budget.Key && owner.Kind != budget.Project {
		return apierror.Invalid("owner_kind", "owner_kind: must be key or project")
	}
	period, unit := budget.Period(query.Get("period")), budget.Unit(query.Get("unit"))
	switch {
	case !period.Known():
		return apierror.Invalid("period", "period: must be day, week, month or total")
	case unit != budget.Tokens && unit != budget.USD:
		return apierror.Invalid("unit", "unit: must be tokens or usd")
	}
	there, err := h.options.Keys.Budgets(r.Context(), owner)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(there, func(b budget.Limit) bool { return b.Period == period && b.Unit == unit }) {
		return notFound("owner_id", "there is no such budget")
	}
	if err := h.change(r.Context(), who, budget.Limit{Owner: owner, Period: period, Unit: unit}); err != nil && !errors.Is(err, apikey.ErrNotFound) {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
