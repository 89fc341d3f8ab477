package apikey

import (
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// Bounds of what may be wished. The highest ones only keep out typing errors.
const (
	// MaxRequestsPerMinute bounds requests a minute, and concurrent requests.
	MaxRequestsPerMinute = 1_000_000
	MaxTokensPerMinute   = 1_000_000_000
	// MaxBudget is a quadrillion tokens, or a billion dollars.
	MaxBudget = 1_000_000_000_000_000
	// MaxGrace is how long a key's former text may be taken at most.
	MaxGrace = 90 * 24 * time.Hour

	maxProjectID   = 64
	maxName        = 128
	maxProfileName = 32
	maxListed      = 256  // names in one list of a profile
	maxListedName  = 4096 // bytes of one of them: a path's length
)

// CheckProjectID says what is wrong with a project id: an apierror.BadRequest
// with the parameter project_id, or nil.
func CheckProjectID(id string) error {
	if id == "" {
		return apierror.Invalid("project_id", "project_id is required")
	}
	foreign := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
	}
	if len(id) > maxProjectID || strings.ContainsFunc(id, foreign) {
		return apierror.Invalid("project_id", "project_id must be 1 to %d characters of A-Z a-z 0-9 . _ -", maxProjectID)
	}
	return nil
}

func checkName(name string) error {
	if utf8.RuneCountInString(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return apierror.Invalid("name", "name must be at most %d characters without control characters", maxName)
	}
	return nil
}

func checkLimits(l gateway.RateLimits) error {
	for _, c := range [...]struct {
		field      string
		value, max int
	}{
		{"requests_per_minute", l.RequestsPerMinute, MaxRequestsPerMinute},
		{"tokens_per_minute", l.TokensPerMinute, MaxTokensPerMinute},
		{"concurrent_requests", l.ConcurrentRequests, MaxRequestsPerMinute},
	} {
		if c.value < 0 || c.value > c.max {
			return apierror.Invalid(c.field, "%s must be between 0 (no limit) and %d", c.field, c.max)
		}
	}
	return nil
}

// checkTimeZone gives the name under which a time zone is kept.
func checkTimeZone(name string) (string, error) {
	if name == "UTC" {
		return "", nil
	}
	// Local is another zone on each machine.
	if _, err := time.LoadLocation(name); err != nil || name == "Local" {
		return "", apierror.Invalid("time_zone", "time_zone must be a name of the IANA time zone database, such as Europe/Berlin")
	}
	return name, nil
}

func checkBudget(l budget.Limit) error {
	switch {
	case l.Owner.Kind != budget.Key && l.Owner.Kind != budget.Project:
		return apierror.Invalid("budget.owner", "budget.owner must be a key or a project")
	case !l.Period.Known():
		return apierror.Invalid("budget.period", "budget.period must be day, week, month or total")
	case l.Unit != budget.Tokens && l.Unit != budget.USD:
		return apierror.Invalid("budget.unit", "budget.unit must be tokens or usd")
	case l.Hard < 0 || l.Hard > MaxBudget:
		return apierror.Invalid("budget.hard", "budget.hard must be between 0 (none) and %d", int64(MaxBudget))
	case l.Soft < 0 || l.Soft > MaxBudget:
		return apierror.Invalid("budget.soft", "budget.soft must be between 0 (none) and %d", int64(MaxBudget))
	case l.Hard > 0 && l.Soft > l.Hard:
		return apierror.Invalid("budget.soft", "budget.soft must not be above budget.hard")
	}
	return nil
}

func checkProfileName(name string) error {
	foreign := func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' }
	if name == "" || len(name) > maxProfileName || strings.ContainsFunc(name, foreign) {
		return apierror.Invalid("name", "name must be 1 to %d characters of a-z 0-9 -", maxProfileName)
	}
	if _, ok := builtIn(name); ok {
		return apierror.Invalid("name", "name: the profile %s is built in and can't be changed", name)
	}
	return nil
}

func checkPermissions(p gateway.Permissions) error {
	for _, list := range [...]struct {
		field string
		names []string
		valid func(string) bool
		say   string
	}{
		{"allowed_tools", p.AllowedTools, listable, "names"},
		{"blocked_tools", p.BlockedTools, listable, "names"},
		{"allowed_agents", p.AllowedAgents, listable, "names"},
		{"allowed_skills", p.AllowedSkills, listable, "names"},
		{"working_directories", p.WorkingDirectories, directory, "absolute paths without . and .., or *"},
	} {
		if len(list.names) > maxListed {
			return apierror.Invalid(list.field, "%s must have at most %d entries", list.field, maxListed)
		}
		for _, name := range list.names {
			if !list.valid(name) {
				return apierror.Invalid(list.field, "%s must hold %s", list.field, list.say)
			}
		}
	}
	if p.MaxCostMicroUSD < 0 || p.MaxCostMicroUSD > maxCostMicroUSD {
		return invalidCost()
	}
	if p.MaxTimeout < 0 || p.MaxTimeout > maxTimeout || p.MaxTimeout%time.Millisecond != 0 {
		return invalidTimeout()
	}
	return nil
}

func listable(name string) bool {
	return name != "" && len(name) <= maxListedName && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, unicode.IsControl) && strings.TrimSpace(name) == name
}

func directory(path string) bool {
	return path == gateway.All || listable(path) && filepath.IsAbs(path) && filepath.Clean(path) == path
}
