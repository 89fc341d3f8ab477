package task

import (
	"context"
	"errors"
	"strings"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
)

// byAdmin says in an approval that it was given by whoever administers the service.
const byAdmin = "admin"

// Owned is a task, and whose it is.
type Owned struct {
	KeyID     string `json:"key_id"`
	ProjectID string `json:"project_id"`
	*View
}

// Owner gives whose a task is, as far as the methods for callers need it: those who
// administer the service look at tasks, end and answer them as their owners do. The task's
// limits were judged when it was asked for. An error is an apierror.Error.
func (t *Tasks) Owner(ctx context.Context, id string) (*gateway.Caller, error) {
	j, err := t.jobs.Find(ctx, id)
	if err == nil && j.Kind != job.KindTask {
		err = job.ErrNotFound
	}
	if err != nil {
		return nil, told(err)
	}
	return &gateway.Caller{KeyID: j.KeyID, ProjectID: j.ProjectID}, nil
}

// maxListed is how much of a task's description a list of all keys' tasks has, in bytes.
const maxListed = 512

// All gives tasks of every key, the newest first, with the beginnings of their
// descriptions.
func (t *Tasks) All(ctx context.Context, filter job.Filter) ([]Owned, error) {
	filter.Kind = job.KindTask
	jobs, err := t.jobs.All(ctx, filter)
	if err != nil {
		return nil, told(err)
	}
	list := make([]Owned, len(jobs))
	for i, j := range jobs {
		v := viewOf(j)
		if len(v.Description) > maxListed {
			v.Description = strings.ToValidUTF8(v.Description[:maxListed], "") + cutMark
		}
		list[i] = Owned{j.KeyID, j.ProjectID, v}
		if j.State != job.Running {
			continue
		}
		// A list has no progress; few of its tasks run.
		if j, err = t.jobs.Find(ctx, j.ID); err != nil && !errors.Is(err, job.ErrNotFound) {
			return nil, told(err)
		}
		v.Approvals = waiting(j)
	}
	return list, nil
}

// AnswerFor answers the question a.N of a task of the owner, for whoever administers the
// service: Options.Decided doesn't hear of it. Its errors are Answer's.
func (t *Tasks) AnswerFor(ctx context.Context, owner *gateway.Caller, id string, a Approval) error {
	a.By = byAdmin
	return t.answer(ctx, owner, id, a)
}
