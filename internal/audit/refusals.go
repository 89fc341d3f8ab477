package audit

import (
	"fmt"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// Refusals is a gateway.Observer that records every request that the service
// refused for its key, its rights, its limits or its budgets, and tells the next
// observer of all requests. What the upstream refused is no refusal of the
// service's.
type Refusals struct {
	Log  *Log
	Next gateway.Observer
}

var _ gateway.Observer = Refusals{}

// Observe implements gateway.Observer. It doesn't wait.
func (r Refusals) Observe(entry gateway.Entry) {
	if entry.Refused && audited(apierror.Category(entry.Category)) {
		event := Event{
			Action: Refused, Target: entry.Endpoint, RequestID: entry.RequestID,
			Detail: fmt.Sprintf("%s, status %d", entry.Category, entry.Status),
		}
		if entry.Caller != nil {
			event.Actor, event.Project = entry.Caller.KeyID, entry.Caller.ProjectID
		}
		r.Log.Record(event)
	}
	r.Next.Observe(entry)
}

func audited(category apierror.Category) bool {
	switch category {
	case apierror.AuthError, apierror.Permission, apierror.RateLimited, apierror.BudgetExceeded:
		return true
	}
	return false
}
