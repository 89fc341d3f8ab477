// Package task does agentic tasks: it holds a request to what its caller may do, runs
// it on an agent, in its caller's request or as a job, and keeps what happens.
package task

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
)

// Endpoint is the route's path, as metrics and ledger name what tasks do.
const Endpoint = "/v1/task"

// Defaults of Options.
const (
	// DefaultApprovalTimeout is how long a person has to answer.
	DefaultApprovalTimeout = 5 * time.Minute
	// DefaultQueued is how many tasks of one key may wait.
	DefaultQueued = 1_000
)

// Runner runs agents: an agent.Runner.
type Runner interface {
	Run(ctx context.Context, spec agent.Spec, handler agent.Handler) (agent.Outcome, error)
	// Transcript reads what is kept of a session on this machine.
	Transcript(keyID, session string) ([]byte, error)
	Artifact(keyID, runID, path string) (io.ReadCloser, agent.Artifact, error)
	// Forget removes what was kept of a run: its workspace ("": none) and artifacts.
	Forget(keyID, workspace, runID string) error
	// ForgetSession removes what the CLI has kept of a session.
	ForgetSession(keyID, session string) error
}

// Jobs keeps tasks: a job.Engine.
type Jobs interface {
	Submit(ctx context.Context, j job.Job) (job.Job, error)
	Begin(ctx context.Context, j job.Job) (*job.Run, func(result jsontext.Value, err error) error, error)
	Job(ctx context.Context, keyID, id string) (job.Job, error)
	List(ctx context.Context, keyID string, filter job.Filter) ([]job.Job, error)
	// Find and All are for those who administer the service.
	Find(ctx context.Context, id string) (job.Job, error)
	All(ctx context.Context, filter job.Filter) ([]job.Job, error)
	Cancel(ctx context.Context, keyID, id string) (job.Job, error)
	Remove(ctx context.Context, keyID, id string) error
	Answer(ctx context.Context, keyID, id string, n int, value jsontext.Value) error
	Events(ctx context.Context, keyID, id string, after int64) iter.Seq2[job.Event, error]
}

// Callers finds who a key belongs to now: an apikey.Authenticator.
type Callers interface {
	// Caller gives an error for a key that isn't valid any more.
	Caller(ctx context.Context, keyID string) (*gateway.Caller, error)
}

// Options are what Tasks need. Runner and Callers may be nil where Off isn't "".
type Options struct {
	Runner  Runner
	Jobs    Jobs
	Callers Callers
	// Walk gives the rooms that a queued task walks through when it runs.
	Walk func() gateway.Options
	// Off says why no task can run, for callers; "": they can.
	Off string
	// Spent gives what all runs of a task have cost by the ledger, in millionths of a US
	// dollar: one that goes on after a death has that less. nil: nobody knows.
	Spent func(ctx context.Context, j job.Job) (int64, error)
	// Known gives the names of the agents and skills that there are for work in a
	// folder ("": in one of the task's own); a task that names others is refused. nil:
	// nobody knows, and none is.
	Known func(directory string) (agents, skills []string)
	// ApprovalTimeout is how long a task waits for a person; 0 is
	// DefaultApprovalTimeout.
	ApprovalTimeout time.Duration
	// Queued is how many tasks of one key may wait; 0 is DefaultQueued.
	Queued int
	// Decided hears of every answer of a person that counts; its error is what whoever
	// gave it hears. nil: nobody is told.
	Decided func(ctx context.Context, call *gateway.Call, id string, a Approval) error
	Log     *slog.Logger // nil: silent
}

// Tasks does tasks. It is safe for concurrent use.
type Tasks struct {
	options Options
	runner  Runner
	jobs    Jobs
	log     *slog.Logger
	waiting atomic.Int64 // questions that nobody has answered yet
}

// Waiting is how many questions of tasks that run here wait for somebody's answer.
func (t *Tasks) Waiting() int64 { return t.waiting.Load() }

// New makes Tasks.
func New(options Options) *Tasks {
	if options.ApprovalTimeout <= 0 {
		options.ApprovalTimeout = DefaultApprovalTimeout
	}
	if options.Queued <= 0 {
		options.Queued = DefaultQueued
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	return &Tasks{options: options, runner: options.Runner, jobs: options.Jobs, log: options.Log}
}
