package apikey

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"claude-code-api-service/internal/budget"
)

// What Keys does, as Change.Action.
const (
	actionKeyCreated     = "key.created"
	actionKeyUpdated     = "key.updated"
	actionKeyRotated     = "key.rotated"
	actionKeyRevoked     = "key.revoked"
	actionProjectSet     = "project.set"
	actionProfileSet     = "profile.set"
	actionProfileDeleted = "profile.deleted"
	actionBudgetSet      = "budget.set"
	actionBudgetRemoved  = "budget.removed"
)

// Actions gives every action of a Change.
func Actions() []string {
	return []string{
		actionKeyCreated, actionKeyUpdated, actionKeyRotated, actionKeyRevoked, actionProjectSet, actionProfileSet, actionProfileDeleted,
		actionBudgetSet, actionBudgetRemoved,
	}
}

// Change is something that Keys has changed, as the audit log notes it.
type Change struct {
	Action  string // one of Actions
	Target  string // what was changed: the id of a key or a project, a profile's name
	Project string // whose it is; "" for a profile
	Detail  string // what it is now; never a key's text
}

// tell notes changes that have been made. It doesn't end with ctx, so that a
// change and its note don't part when whoever asked for it leaves.
func (k *Keys) tell(ctx context.Context, changes ...Change) error {
	if k.changed == nil {
		return nil
	}
	if err := k.changed(context.WithoutCancel(ctx), changes); err != nil {
		return fmt.Errorf("%s of %s is done, but couldn't be noted: %w", changes[0].Action, changes[0].Target, err)
	}
	return nil
}

// difference gives what of a key may be chosen and is another than before.
func difference(before, after Key) string {
	var parts []string
	note := func(field, before, after string) {
		if before != after {
			parts = append(parts, field+"="+after)
		}
	}
	note("profile", before.Profile, after.Profile)
	note("admin", strconv.FormatBool(before.Admin), strconv.FormatBool(after.Admin))
	note("requests_per_minute", strconv.Itoa(before.Limits.RequestsPerMinute), strconv.Itoa(after.Limits.RequestsPerMinute))
	note("tokens_per_minute", strconv.Itoa(before.Limits.TokensPerMinute), strconv.Itoa(after.Limits.TokensPerMinute))
	note("concurrent_requests", strconv.Itoa(before.Limits.ConcurrentRequests), strconv.Itoa(after.Limits.ConcurrentRequests))
	note("expires_at", moment(before.ExpiresAt), moment(after.ExpiresAt))
	note("name", strconv.Quote(before.Name), strconv.Quote(after.Name))
	return strings.Join(parts, ", ")
}

// words gives a project's settings.
func (p Project) words() string {
	zone := p.TimeZone
	if zone == "" {
		zone = "UTC"
	}
	return fmt.Sprintf("time_zone=%s, requests_per_minute=%d, tokens_per_minute=%d, concurrent_requests=%d",
		zone, p.Limits.RequestsPerMinute, p.Limits.TokensPerMinute, p.Limits.ConcurrentRequests)
}

func moment(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

func budgetChange(limit budget.Limit, project string) Change {
	change := Change{Action: actionBudgetSet, Target: limit.Owner.ID, Project: project}
	change.Detail = fmt.Sprintf("%s, %s per %s", limit.Owner.Kind, limit.Unit, limit.Period)
	if limit.Period == budget.Total {
		change.Detail = fmt.Sprintf("%s, %s in total", limit.Owner.Kind, limit.Unit)
	}
	if limit.Hard == 0 && limit.Soft == 0 {
		change.Action = actionBudgetRemoved
		return change
	}
	for _, l := range [...]struct {
		name  string
		value int64
	}{{"hard", limit.Hard}, {"soft", limit.Soft}} {
		if l.value == 0 {
			continue
		}
		value := strconv.FormatInt(l.value, 10)
		if limit.Unit == budget.USD {
			value = strconv.FormatFloat(float64(l.value)/1e6, 'f', -1, 64)
		}
		change.Detail += fmt.Sprintf(", %s=%s", l.name, value)
	}
	return change
}
