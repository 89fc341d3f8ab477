package task

import (
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
)

// View is a task as its caller sees it.
type View struct {
	ID          string    `json:"id"`
	Status      job.State `json:"status"`
	Description string    `json:"description,omitzero"`
	CreatedAt   time.Time `json:"created_at"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Attempt     int       `json:"attempt"`
	Cancelling  bool      `json:"cancelling,omitzero"`
	// Approvals are the questions that wait for an answer now.
	Approvals []Question `json:"approvals,omitzero"`
	*Result
	Detail string   `json:"detail,omitzero"`
	Error  *Failure `json:"error,omitzero"`
}

// viewOf gives a job as a task. What it doesn't hold is left out.
func viewOf(j job.Job) *View {
	v := &View{
		ID: j.ID, Status: j.State, CreatedAt: j.Created.UTC(), StartedAt: utc(j.Started), EndedAt: utc(j.Ended), ExpiresAt: utc(j.Expires),
		Attempt: j.Attempt, Cancelling: j.Cancelling && !j.State.Ended(), Approvals: waiting(j),
	}
	if j.Request != nil {
		if r, err := readKept(j.Request); err == nil {
			v.Description = r.Description
		}
	}
	if j.Result != nil {
		v.Result = &Result{}
		if err := decode(j.Result, v.Result); err != nil {
			v.Result = nil // of a version that wrote something else
		}
	}
	switch j.Category {
	case "":
	case job.CategoryCancelled: // in its words a task is a job
		v.fail(apierror.New(job.CategoryCancelled, cancelled))
	default:
		v.fail(apierror.New(apierror.Category(j.Category), j.Message))
	}
	return v
}

func (v *View) fail(e *apierror.Error) { v.Detail, v.Error = e.Message, failure(e) }

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}
