package session

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// Message is one that a session is asked to answer.
type Message struct {
	Caller   *gateway.Caller
	RunID    string // unique, see agent.Spec
	Endpoint string
	Prompt   jsontext.Value // a text, or content blocks
	// Begin, unless it is nil, is called with the session and its model's id before
	// anything is asked. An error ends the turn.
	Begin func(s Session, model string) error
}

// Turn has a session answer a message. What was answered is kept when it returns:
// after a restart, and on other nodes, the session goes on from there. A turn that
// fails, or ends where it has cost too much, leaves the session as it was before. An error is an apierror.Error, the
// handler's, or ctx's cause.
func (s *Sessions) Turn(ctx context.Context, id string, m Message, handler agent.Handler) (agent.Outcome, error) {
	ctx, p, err := s.enter(ctx, m.Caller.KeyID, id)
	if err != nil {
		return agent.Outcome{}, err
	}
	defer s.leave(p)
	d, err := s.get(ctx, m.Caller.KeyID, id)
	if err != nil {
		return agent.Outcome{}, err
	}
	model, err := s.permitted(m.Caller, d)
	if err == nil && m.Begin != nil {
		err = m.Begin(d.Session, model)
	}
	if err != nil {
		return agent.Outcome{}, err
	}
	if most := m.Caller.Permissions.MaxTimeout; most > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, most, apierror.New(apierror.Timeout, "the profile allows no longer answers"))
		defer cancel()
	}
	if err := s.open(ctx, p, d, m, model); err != nil {
		return agent.Outcome{}, err
	}
	first := d.CLI == ""
	outcome, err := p.conversation.Turn(ctx, m.RunID, m.Prompt, handler)
	// A session's files are its folder's: nobody asks for those of one turn.
	if err := s.options.Processes.Forget(d.KeyID, "", m.RunID); err != nil {
		s.log.WarnContext(ctx, "what a session's turn has left stays", "session", d.ID, "run", m.RunID, "error", err)
	}
	kept := false
	if err == nil && outcome.End != agent.EndMaxCost { // else it was cut somewhere
		err = s.keep(ctx, p, d, outcome)
		kept = err == nil
	}
	if !kept {
		s.end(p)
		if first {
			s.undo(d.KeyID, m.RunID, outcome)
		}
	}
	return outcome, err
}

// undo removes what a session's first turn has made that nothing knows of.
func (s *Sessions) undo(keyID, runID string, outcome agent.Outcome) {
	var errs []error
	if outcome.Session != "" {
		errs = append(errs, s.options.Processes.ForgetSession(keyID, outcome.Session))
	}
	if outcome.Workspace != "" {
		errs = append(errs, s.options.Processes.Forget(keyID, outcome.Workspace, runID))
	}
	if err := errors.Join(errs...); err != nil {
		s.log.Warn("what a session's failed turn has left stays", "error", err)
	}
}

// open has the place's process be one that goes on with the session.
func (s *Sessions) open(ctx context.Context, p *place, d *document, m Message, model string) error {
	if p.serves(m.Caller, d, model) {
		return nil
	}
	s.end(p)
	if err := s.makeLocal(ctx, d); err != nil {
		return err
	}
	s.mu.Lock()
	s.makeRoom(s.options.MaxProcesses - 1)
	s.mu.Unlock()
	c, err := s.options.Processes.Open(ctx, agent.Spec{
		ID: m.RunID, Caller: m.Caller, Endpoint: m.Endpoint, Model: model, System: d.System,
		Tools: d.Tools, Agents: d.Agents, Skills: d.Skills, Directory: d.Directory,
		Workspace: d.Workspace, Session: d.CLI, MaxCostMicroUSD: m.Caller.Permissions.MaxCostMicroUSD,
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.conversation, p.caller, p.model, p.turns = c, m.Caller, model, d.Turns
	if d.CLI == "" {
		p.size = 0
	} else if n, ok := s.noted(d.KeyID, d.ID); ok {
		p.size = n.Size
	}
	return nil
}

// makeLocal has the CLI's file of a conversation be exactly what was answered last.
func (s *Sessions) makeLocal(ctx context.Context, d *document) error {
	if d.CLI == "" {
		return nil
	}
	processes := s.options.Processes
	here, err := processes.Transcript(d.KeyID, d.CLI)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return internal("the session's conversation can't be read", err)
	}
	n, noted := s.noted(d.KeyID, d.ID)
	current := err == nil && noted && n.CLI == d.CLI && n.Turns == d.Turns
	switch {
	case current && (n.Size == len(here) || !d.Stored):
		return nil // what a longer one holds beyond that can't be taken back
	case !d.Stored:
		return apierror.New(apierror.BadRequest, "the session's conversation is too long to be moved between machines, and isn't on this one")
	}
	text, err := s.transcript(ctx, d)
	if err != nil {
		return err
	}
	err = processes.ForgetSession(d.KeyID, d.CLI)
	if err == nil {
		err = processes.Restore(d.KeyID, d.Directory, d.Workspace, d.CLI, text)
	}
	if err != nil {
		return internal("the session's conversation can't be put back", err)
	}
	return s.note(d, len(text))
}

// keep makes an answered turn durable, whether its caller is still there or not.
func (s *Sessions) keep(ctx context.Context, p *place, d *document, outcome agent.Outcome) error {
	ctx = context.WithoutCancel(ctx)
	former := *d
	d.CLI, d.Workspace = outcome.Session, outcome.Workspace
	d.Turns++
	d.Used = time.Now().UTC()
	from := p.size
	if former.CLI != d.CLI {
		from = 0
	}
	text, err := s.settled(d, from, outcome.Text)
	if err != nil {
		return err
	}
	if err := s.putTranscript(ctx, d, text); err != nil {
		return err
	}
	if err := s.put(ctx, d); err != nil {
		return err
	}
	if err := s.note(d, len(text)); err != nil {
		return err
	}
	if former.Stored {
		s.drop(ctx, kindTranscript, d.KeyID, former.transcriptID())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.turns, p.size = d.Turns, len(text)
	return nil
}

const (
	// settleWithin bounds the wait for the CLI to have written down what it has answered:
	// 2.1.331 does so before it says that it is done, 2.1.197 up to 100 ms later.
	settleWithin = 500 * time.Millisecond
	settleEvery  = 10 * time.Millisecond
)

// settled reads a transcript that holds an answer behind its first bytes.
func (s *Sessions) settled(d *document, from int, answer string) ([]byte, error) {
	for deadline := time.Now().Add(settleWithin); ; time.Sleep(settleEvery) {
		text, err := s.options.Processes.Transcript(d.KeyID, d.CLI)
		switch late := !time.Now().Before(deadline); {
		case err == nil && holds(text[min(from, len(text)):], answer):
			return text, nil
		case err == nil && late:
			s.log.Warn("the CLI hasn't written down all of a session's answer", "session", d.ID)
			return text, nil
		case late:
			return nil, internal("the session's conversation can't be read", err)
		}
	}
}

// holds says whether lines of a transcript hold an answer's text; of one without, that
// there is an answer.
func holds(lines []byte, answer string) bool {
	for line := range bytes.Lines(lines) {
		if !bytes.Contains(line, []byte(`"assistant"`)) {
			continue
		}
		var entry struct {
			Type      string `json:"type"`
			Sidechain bool   `json:"isSidechain"`
			Message   struct {
				Content []struct {
					Text string `json:"text"`
				} `json:"content"`
			} `json:"message"`
		}
		if json.Unmarshal(line, &entry) != nil || entry.Type != "assistant" || entry.Sidechain {
			continue
		}
		if answer == "" {
			return true
		}
		for _, block := range entry.Message.Content {
			if strings.TrimSpace(block.Text) == strings.TrimSpace(answer) {
				return true
			}
		}
	}
	return false
}
