package claudecli

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ErrNotEmptied means that the process may still hold a former request's words
// and must be killed.
var ErrNotEmptied = errors.New("the process couldn't be emptied")

// Empty takes everything that a request left out of the process, and stops a
// turn that still runs. Only an answer that is exactly as expected counts;
// after any error (it wraps ErrNotEmptied) the process must be closed.
func (p *Process) Empty(ctx context.Context) error {
	if p.broken != nil {
		return fmt.Errorf("%w: %w", ErrNotEmptied, p.broken)
	}
	// Whatever it calls from now on, nobody waits for it.
	p.announced = nil
	var err error
	switch p.options.Features.Emptying {
	case EmptyByRewind:
		err = p.rewind(ctx)
	case EmptyByClear:
		err = p.clear(ctx)
	case EmptyNever:
		err = errors.New("this CLI has no way to do it")
	default:
		err = errors.New("the CLI wasn't probed")
	}
	if err == nil {
		err = p.clearSettings(ctx)
	}
	if err == nil && p.broken != nil {
		err = p.broken // a line that wasn't JSON in between
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotEmptied, err)
	}
	p.prompts = p.prompts[:0]
	p.calls, p.parked, p.resumed, p.results = nil, nil, false, nil
	return nil
}

// clearSettings takes away what holds words of the request, its tools and its
// output format, and gives the upstream back.
func (p *Process) clearSettings(ctx context.Context) error {
	requests := p.withdraw()
	env := map[string]string{}
	if p.extra != "" {
		env[envExtraBody] = ""
	}
	if p.barred {
		env[envBaseURL] = p.options.upstream()
	}
	if len(env) > 0 {
		requests = append(requests, control{Subtype: "apply_flag_settings", Settings: &settings{Env: env}})
	}
	p.extra, p.barred = "", false
	p.bound.Tools, p.bound.ToolChoice, p.bound.Format = nil, nil, nil
	if requests == nil {
		return nil
	}
	_, err := p.ask(ctx, p.options.ControlTimeout, requests...)
	return err
}

// rewind takes the prompts back, the last first: aiming past a later prompt
// leaves everything (the CLI answers "stale target"). Results of tools go with the
// prompt before them; as a target they are refused.
func (p *Process) rewind(ctx context.Context) error {
	if len(p.prompts) > 0 && p.prompts[0] == "" {
		return errors.New("the conversation begins with a tool's result")
	}
	for i := len(p.prompts) - 1; i >= 0; i-- {
		if p.prompts[i] == "" {
			continue
		}
		answers, err := p.ask(ctx, p.options.ControlTimeout, control{
			Subtype: "rewind_conversation", TargetMessageUUID: p.prompts[i], InterruptIfRunning: p.running,
		})
		if err != nil {
			return err
		}
		var answer struct {
			Rewound            bool           `json:"rewound"`
			PrecedingAssistant jsontext.Value `json:"precedingAssistantUuid"`
			Error              string         `json:"error"`
		}
		if err := json.Unmarshal(answers[0].Response, &answer); err != nil {
			return fmt.Errorf("decode answer to rewind_conversation: %w", err)
		}
		if !answer.Rewound {
			return fmt.Errorf("rewind_conversation: %s", answer.Error)
		}
		// null says that nothing is left in front of the first prompt. An absent
		// member says nothing.
		if i == 0 && string(answer.PrecedingAssistant) != "null" {
			return errors.New("rewind_conversation left an assistant message behind")
		}
		if err := p.drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// drain waits for the result of a turn that was interrupted.
func (p *Process) drain(ctx context.Context) error {
	if !p.running {
		return nil
	}
	defer p.guard(ctx, drainTimeout)()
	_, err := p.awaitResult(ctx)
	return err
}

func (p *Process) clear(ctx context.Context) error {
	if p.running {
		if _, err := p.ask(ctx, p.options.ControlTimeout, control{Subtype: "interrupt"}); err != nil {
			return err
		}
		if err := p.drain(ctx); err != nil {
			return err
		}
	}
	former := p.sessionID
	if former == "" {
		return errors.New("no session id was seen before /clear")
	}
	defer p.guard(ctx, p.options.ControlTimeout)()
	if err := p.writePrompt(ctx, jsontext.Value(`"/clear"`), nil); err != nil {
		return err
	}
	result, err := p.awaitResult(ctx)
	if err != nil {
		return err
	}
	if result.IsError || result.Subtype != "success" || p.sessionID == former {
		return fmt.Errorf("/clear answered %q with the session unchanged: %t", result.Subtype, p.sessionID == former)
	}
	return nil
}
