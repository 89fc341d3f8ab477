package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// Sessions are the conversations of all keys. It is safe for concurrent use. Close must
// be called.
type Sessions struct {
	options Options
	archive Archive
	log     *slog.Logger

	mu     sync.Mutex
	places map[string]*place // by key and session, of those that are at work or have a process
	closed bool
	ending sync.WaitGroup // processes that end
}

// New makes Sessions.
func New(options Options) *Sessions {
	options.setDefaults()
	return &Sessions{options: options, archive: options.Archive, log: options.Log, places: map[string]*place{}}
}

// Wish is what a new session is to be.
type Wish struct {
	Model, System string
	// Tools, Agents and Skills may be used; nil: all that the profile allows.
	Tools, Agents, Skills []string
	Directory             string        // "": a workspace of its own
	TTL                   time.Duration // 0: the longest that there is
}

// maxSystem bounds a system prompt, in bytes: it is sent with every message.
const maxSystem = 64 << 10

// Create makes a session. Nothing is started for it yet. An error is an apierror.Error.
func (s *Sessions) Create(ctx context.Context, caller *gateway.Caller, w Wish) (Session, error) {
	if w.Model == "" || w.Model == "auto" {
		w.Model = DefaultModel
	}
	all := []string{gateway.All}
	for _, list := range []struct {
		field string
		names *[]string
	}{{"allowed_tools", &w.Tools}, {"allowed_agents", &w.Agents}, {"allowed_skills", &w.Skills}} {
		if *list.names == nil {
			*list.names = all
		}
		if !gateway.NamesFit(*list.names) {
			return Session{}, apierror.Invalid(list.field, "%s: must be at most %d names of at most %d bytes", list.field, gateway.MaxNames, gateway.MaxName)
		}
	}
	if w.TTL == 0 {
		w.TTL = s.options.TTL
	}
	switch {
	case w.TTL < time.Second || w.TTL > s.options.TTL:
		return Session{}, apierror.Invalid("ttl", "ttl: must be between 1 and %d seconds", int64(s.options.TTL/time.Second))
	case len(w.System) > maxSystem:
		return Session{}, apierror.Invalid("system", "system: is longer than %d bytes", maxSystem)
	}
	if w.Directory != "" {
		var err error
		if w.Directory, err = s.options.Directory(caller, w.Directory); err != nil {
			return Session{}, err
		}
	}
	now := time.Now().UTC()
	d := &document{KeyID: caller.KeyID, Session: Session{
		ID: newID(), Model: w.Model, System: w.System, Tools: w.Tools, Agents: w.Agents, Skills: w.Skills,
		Directory: w.Directory, TTL: w.TTL, Created: now, Used: now,
	}}
	if _, err := s.permitted(caller, d); err != nil {
		return Session{}, err
	}
	if err := s.known(d); err != nil {
		return Session{}, err
	}
	if err := s.room(ctx, caller.KeyID); err != nil {
		return Session{}, err
	}
	return d.Session, s.put(ctx, d)
}

// known refuses names of agents and skills that there aren't.
func (s *Sessions) known(d *document) error {
	if s.options.Known == nil {
		return nil
	}
	agents, skills := s.options.Known(d.Directory)
	for _, list := range []struct {
		field           string
		names, thereAre []string
	}{{"allowed_agents", d.Agents, agents}, {"allowed_skills", d.Skills, skills}} {
		for _, name := range list.names {
			if name != gateway.All && !slices.Contains(list.thereAre, name) {
				return apierror.Invalid(list.field, "%s: there is no %q; GET /v1/capabilities lists what there is", list.field, name)
			}
		}
	}
	return nil
}

// room refuses a key that has as many sessions as it may.
func (s *Sessions) room(ctx context.Context, keyID string) error {
	list, err := s.documents(ctx, keyID)
	if err != nil {
		return err
	}
	if len(list) >= s.options.Most {
		return apierror.New(apierror.RateLimited, fmt.Sprintf("the key has %d sessions, which is as many as it may: delete some", len(list)))
	}
	return nil
}

func newID() string {
	var random [12]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return "sess_" + hex.EncodeToString(random[:])
}

// permitted refuses what the caller's profile doesn't allow, or doesn't any more, and
// gives the id of the session's model.
func (s *Sessions) permitted(caller *gateway.Caller, d *document) (model string, err error) {
	p := caller.Permissions
	for _, tool := range d.Tools {
		if tool != gateway.All && !p.Tool(tool) {
			return "", forbidden("allowed_tools", "holds a tool that the key's profile doesn't allow")
		}
	}
	for _, list := range []struct {
		field          string
		names, allowed []string
	}{{"allowed_agents", d.Agents, p.AllowedAgents}, {"allowed_skills", d.Skills, p.AllowedSkills}} {
		for _, name := range list.names {
			if name != gateway.All && !slices.Contains(list.allowed, gateway.All) && !slices.Contains(list.allowed, name) {
				return "", forbidden(list.field, "holds one that the key's profile doesn't allow")
			}
		}
	}
	if d.Directory != "" {
		now, err := s.options.Directory(caller, d.Directory)
		if err != nil {
			return "", err
		}
		if now != d.Directory {
			return "", forbidden("working_directory", "leads elsewhere now")
		}
	}
	model, ok := s.options.Resolve(d.Model)
	if !ok {
		return "", &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeModelNotFound, Param: "model", Message: "model: there is no such model"}
	}
	return model, nil
}

// Get gives a session of the key. An error is an apierror.Error.
func (s *Sessions) Get(ctx context.Context, keyID, id string) (Session, error) {
	d, err := s.get(ctx, keyID, id)
	if err != nil {
		return Session{}, err
	}
	return d.Session, nil
}

// List gives the key's sessions, the one used last first. An error is an
// apierror.Error.
func (s *Sessions) List(ctx context.Context, keyID string) ([]Session, error) {
	list, err := s.documents(ctx, keyID)
	if err != nil {
		return nil, err
	}
	all := make([]Session, len(list))
	for i, d := range list {
		all[i] = d.Session
	}
	return all, nil
}

// Fork makes a session that goes on from what another one is now, in the same folder.
// That one stays. An error is an apierror.Error.
func (s *Sessions) Fork(ctx context.Context, caller *gateway.Caller, id string) (Session, error) {
	ctx, p, err := s.enter(ctx, caller.KeyID, id)
	if err != nil {
		return Session{}, err
	}
	defer s.leave(p)
	d, err := s.get(ctx, caller.KeyID, id)
	if err != nil {
		return Session{}, err
	}
	if _, err := s.permitted(caller, d); err != nil {
		return Session{}, err
	}
	if err := s.room(ctx, caller.KeyID); err != nil {
		return Session{}, err
	}
	fork := *d
	fork.ID, fork.Parent = newID(), d.ID
	fork.Created = time.Now().UTC()
	fork.Used = fork.Created
	if d.CLI != "" {
		if err := s.copyTranscript(ctx, d, &fork); err != nil {
			return Session{}, err
		}
	}
	return fork.Session, s.put(ctx, &fork)
}

// copyTranscript gives a fork the conversation under an id of its own. The CLI's own
// fork needs a process, and would take what the other session has become by then.
func (s *Sessions) copyTranscript(ctx context.Context, from, to *document) error {
	text, err := s.latest(ctx, from)
	if err != nil {
		return err
	}
	to.CLI = agent.NewSession()
	text = bytes.ReplaceAll(text, []byte(from.CLI), []byte(to.CLI))
	if err := s.putTranscript(ctx, to, text); err != nil || to.Stored {
		return err
	}
	if err := s.options.Processes.Restore(to.KeyID, to.Directory, to.Workspace, to.CLI, text); err != nil {
		return internal("the session's conversation can't be copied", err)
	}
	return s.note(to, len(text))
}

// latest gives a conversation as it was answered last.
func (s *Sessions) latest(ctx context.Context, d *document) ([]byte, error) {
	if d.Stored {
		return s.transcript(ctx, d)
	}
	if err := s.makeLocal(ctx, d); err != nil { // which says where it is, if not here
		return nil, err
	}
	text, err := s.options.Processes.Transcript(d.KeyID, d.CLI)
	if err != nil {
		return nil, internal("the session's conversation can't be read", err)
	}
	return text, nil
}

// Delete forgets a session: its process ends, also in the middle of an answer, and its
// conversation is removed, and its workspace where no fork works in it. An error is an
// apierror.Error.
func (s *Sessions) Delete(ctx context.Context, keyID, id string) error {
	ctx, p, err := s.enterToDelete(ctx, keyID, id)
	if err != nil {
		return err
	}
	defer s.leave(p)
	d, err := s.get(ctx, keyID, id)
	if err != nil {
		return err
	}
	s.end(p)
	if err := s.archive.Delete(ctx, kindSession, keyID, id); err != nil {
		return internal("the session can't be deleted", err)
	}
	s.drop(ctx, kindTranscript, keyID, d.transcriptID())
	return s.forget(ctx, d)
}

// forget removes what of a session is on this machine.
func (s *Sessions) forget(ctx context.Context, d *document) error {
	var errs []error
	if d.CLI != "" {
		errs = append(errs, s.options.Processes.ForgetSession(d.KeyID, d.CLI))
	}
	if d.Workspace != "" {
		others, err := s.documents(ctx, d.KeyID)
		shared := slices.ContainsFunc(others, func(o *document) bool { return o.ID != d.ID && o.Workspace == d.Workspace })
		if err != nil {
			errs = append(errs, err)
		} else if !shared {
			errs = append(errs, s.options.Processes.Forget(d.KeyID, d.Workspace, d.ID))
		}
	}
	errs = append(errs, s.forgetNote(d.KeyID, d.ID))
	if err := errors.Join(errs...); err != nil {
		return internal("the session's files can't be removed", err)
	}
	return nil
}

// Close ends all processes, and the turns that run with them. What is asked for later
// is refused.
func (s *Sessions) Close() {
	s.mu.Lock()
	s.closed = true
	var working []chan struct{}
	for _, p := range s.places {
		if p.busy() {
			p.cancel(errStopping)
			working = append(working, p.work)
		} else {
			s.retire(p)
		}
	}
	s.mu.Unlock()
	for _, work := range working {
		<-work
	}
	s.mu.Lock() // whoever has left has begun to end its process by then
	defer s.mu.Unlock()
	s.ending.Wait()
}

var errStopping = &apierror.Error{Category: apierror.Overloaded, Message: "the service is stopping", RetryAfter: time.Second}

// name is under what a session's place is found.
func name(keyID, id string) string { return strings.Join([]string{keyID, id}, "/") }
