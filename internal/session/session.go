// Package session keeps conversations on processes of the CLI of their own, and beyond
// those: a process that has idled ends and a later message starts another one, which
// reads what the CLI has kept of the conversation; after a restart, too, and on another
// node.
package session

import (
	"context"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
)

// Defaults of Options.
const (
	// DefaultIdle is how long a process waits for its session's next message.
	DefaultIdle = 15 * time.Minute
	// DefaultTTL is how long a session is kept after its last message.
	DefaultTTL = 30 * 24 * time.Hour
	// DefaultProcesses is how many sessions have a process at rest.
	DefaultProcesses = 8
	// DefaultMost is how many sessions a key may have.
	DefaultMost = 1_000
	// DefaultTranscript is the most that is kept in the archive of one conversation.
	DefaultTranscript = 32 << 20
)

// DefaultModel is a session's that is made without one, or with auto: nothing is known
// yet by which one could be chosen.
const DefaultModel = "sonnet"

// Session is a conversation of one key. It is never changed: a turn makes another one.
type Session struct {
	ID     string
	Parent string // the session that it was forked from, "" for none
	// Model is an alias or a full id, as it was asked for.
	Model  string
	System string // added to the CLI's own system prompt
	// Tools, Agents and Skills are those that may be used; gateway.All is all that the
	// key's profile allows.
	Tools, Agents, Skills []string
	// Directory is where it works, absolute and without links; "": in a workspace of its
	// own.
	Directory string
	TTL       time.Duration `json:"-"` // how long it is kept after a message, in whole seconds
	Turns     int           // how often it was answered
	Created   time.Time
	Used      time.Time // when it was answered last, or made
}

// Expires is when the session is forgotten, unless it is used before.
func (s *Session) Expires() time.Time { return s.Used.Add(s.TTL) }

// Conversation is a live process: an agent.Conversation, whose methods say what they
// do.
type Conversation interface {
	Turn(ctx context.Context, runID string, prompt jsontext.Value, handler agent.Handler) (agent.Outcome, error)
	Exited() <-chan struct{}
	Close()
}

// Processes starts conversations and keeps their files: an agent.Runner, through
// Agents.
type Processes interface {
	Open(ctx context.Context, spec agent.Spec) (Conversation, error)
	// Transcript reads what the CLI has kept of a conversation, or gives
	// fs.ErrNotExist; Restore puts it back where there is none, and ForgetSession
	// removes it.
	Transcript(keyID, session string) ([]byte, error)
	Restore(keyID, directory, workspace, session string, transcript []byte) error
	ForgetSession(keyID, session string) error
	// Forget removes a run's artifacts, and a workspace unless that is "".
	Forget(keyID, workspace, runID string) error
}

// Agents makes Processes of a Runner.
func Agents(r *agent.Runner) Processes { return agents{r} }

type agents struct{ *agent.Runner }

// Open implements Processes.
func (a agents) Open(ctx context.Context, spec agent.Spec) (Conversation, error) {
	c, err := a.Runner.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Archive keeps sessions and their transcripts: an archive.Archive.
type Archive interface {
	Put(ctx context.Context, kind, keyID, id string, ttl time.Duration, body []byte) error
	// Get and Delete give archive.ErrNotFound where the key has no such document.
	Get(ctx context.Context, kind, keyID, id string) (archive.Document, error)
	List(ctx context.Context, kind, keyID string) ([]archive.Document, error)
	Delete(ctx context.Context, kind, keyID, id string) error
}

// Claims take something for this node alone: a cluster.Member.
type Claims interface {
	Claim(ctx context.Context, kind, keyID, id, note string) (held bool, others string, err error)
	Release(ctx context.Context, kind, keyID, id string) error
}

// Options are what Sessions need. Processes, Archive, Folder, Resolve and Directory are
// required.
type Options struct {
	Processes Processes
	Archive   Archive
	// Claims keep other nodes from a session that is at work; nil: there are none.
	Claims Claims
	// Folder is where it is noted, by key, which conversations lie on this machine.
	Folder string
	// Resolve gives the full id of a model's name.
	Resolve func(model string) (id string, ok bool)
	// Directory gives the folder in which a caller may work, without links, or refuses
	// it: Gateway.Directory.
	Directory func(caller *gateway.Caller, path string) (string, error)
	// Known gives the names of the agents and skills that there are for work in a folder,
	// "" for one of its own. nil: nobody knows, and any name is taken.
	Known func(directory string) (agents, skills []string)

	Idle       time.Duration // 0 is DefaultIdle
	TTL        time.Duration // 0 is DefaultTTL
	Most       int           // 0 is DefaultMost
	Transcript int           // in bytes; 0 is DefaultTranscript
	// MaxProcesses is how many processes are kept for sessions at rest; the one used
	// least recently ends when another needs room. 0 is DefaultProcesses.
	MaxProcesses int
	Log          *slog.Logger // nil: silent
}

func (o *Options) setDefaults() {
	if o.Idle <= 0 {
		o.Idle = DefaultIdle
	}
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.Most <= 0 {
		o.Most = DefaultMost
	}
	if o.Transcript <= 0 {
		o.Transcript = DefaultTranscript
	}
	if o.MaxProcesses <= 0 {
		o.MaxProcesses = DefaultProcesses
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// The errors that callers get.

func errUnknown() error {
	return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "session_id", Message: "there is no such session, or it has expired"}
}

// busyAgain is how long a caller should wait before it tries a busy session again.
const busyAgain = time.Second

func errBusy() error {
	return &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeSessionBusy, RetryAfter: busyAgain,
		Message: "the session is answering another message: one at a time",
	}
}

func errDeleted() error {
	return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "session_id", Message: "the session was deleted meanwhile"}
}

func forbidden(field, text string) error {
	return &apierror.Error{Category: apierror.Permission, Param: field, Message: field + ": " + text}
}

func internal(text string, cause error) error { return apierror.Wrap(apierror.Internal, text, cause) }
