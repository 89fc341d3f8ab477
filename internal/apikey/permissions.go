package apikey

import (
	"errors"
	"math"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// permissionsJSON is the service contract's form of a custom profile.
type permissionsJSON struct {
	AllowedTools       []string `json:"allowed_tools"`
	BlockedTools       []string `json:"blocked_tools"`
	AllowedAgents      []string `json:"allowed_agents"`
	AllowedSkills      []string `json:"allowed_skills"`
	MaxCost            float64  `json:"max_cost_per_task"` // US dollars; 0: no limit
	MaxTimeout         float64  `json:"max_timeout"`       // seconds; 0: no limit
	WorkingDirectories []string `json:"working_directories"`
}

// Bounds of permissions, far above what anybody means: they keep out typing
// errors, and numbers that a float64 doesn't hold exactly.
const (
	maxCostMicroUSD = 1_000_000_000_000 // a million dollars
	maxTimeout      = 366 * 24 * time.Hour
)

// FormatPermissions writes permissions as the service contract's JSON.
func FormatPermissions(p gateway.Permissions) []byte {
	form := permissionsJSON{
		p.AllowedTools, p.BlockedTools, p.AllowedAgents, p.AllowedSkills,
		float64(p.MaxCostMicroUSD) / 1e6, p.MaxTimeout.Seconds(), p.WorkingDirectories,
	}
	body, err := json.Marshal(form, json.Deterministic(true))
	if err != nil {
		panic(err) // only for NaN and bad UTF-8, which checks keep out
	}
	return body
}

// ParsePermissions reads the service contract's JSON. Members that it doesn't know
// are refused: a misspelt one would permit something else than was meant. What is
// wrong is an apierror.BadRequest that names the member. Costs are rounded to
// millionths of a dollar, times to milliseconds.
func ParsePermissions(body []byte) (gateway.Permissions, error) {
	var form permissionsJSON
	if err := json.Unmarshal(body, &form, json.RejectUnknownMembers(true)); err != nil {
		field := "permissions"
		var semantic *json.SemanticError
		if errors.As(err, &semantic) && len(semantic.JSONPointer) > 1 {
			field, _, _ = strings.Cut(string(semantic.JSONPointer[1:]), "/")
		}
		e := apierror.Invalid(field, "%s: a profile's permissions are a JSON object of names in lists, max_cost_per_task in US dollars and max_timeout in seconds", field)
		if errors.Is(err, json.ErrUnknownName) {
			e.Message = field + ": a profile's permissions have no such member"
		}
		e.Cause = err
		return gateway.Permissions{}, e
	}
	cost, timeout := math.Round(form.MaxCost*1e6), math.Round(form.MaxTimeout*1e3)
	if form.MaxCost != 0 && (cost < 1 || cost > maxCostMicroUSD) {
		return gateway.Permissions{}, invalidCost()
	}
	if form.MaxTimeout != 0 && (timeout < 1 || timeout > float64(maxTimeout/time.Millisecond)) {
		return gateway.Permissions{}, invalidTimeout()
	}
	return gateway.Permissions{
		AllowedTools: names(form.AllowedTools), BlockedTools: names(form.BlockedTools),
		AllowedAgents: names(form.AllowedAgents), AllowedSkills: names(form.AllowedSkills),
		MaxCostMicroUSD: int64(cost), MaxTimeout: time.Duration(timeout) * time.Millisecond,
		WorkingDirectories: names(form.WorkingDirectories),
	}, nil
}

// names makes an empty list nil, whether it was written or left out.
func names(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

func invalidCost() error {
	return apierror.Invalid("max_cost_per_task", "max_cost_per_task must be between 0 (no limit) and %d US dollars, not finer than millionths", maxCostMicroUSD/1_000_000)
}

func invalidTimeout() error {
	return apierror.Invalid("max_timeout", "max_timeout must be between 0 (no limit) and %d seconds, not finer than thousandths", int64(maxTimeout/time.Second))
}
