package claudecli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// extras finds out whether members of the upstream body can be set, whether a
// client's tools can be offered, and whether the upstream can be taken away. Where
// that isn't so, the mode holds without it.
func (t *trial) extras(ctx context.Context, f *Features) (why []string) {
	if f.ExtraBody {
		if err := t.output(ctx); err != nil {
			f.ExtraBody, f.ClientTools = false, false
			why = append(why, fmt.Sprintf("output settings: %v", err))
		}
	}
	if f.ClientTools {
		if err := t.tools(ctx); err != nil {
			f.ClientTools = false
			why = append(why, fmt.Sprintf("client tools: %v", err))
		}
	}
	if f.OneCall {
		if err := t.oneCall(ctx); err != nil {
			f.OneCall = false
			why = append(why, fmt.Sprintf("one call a turn: %v", err))
		}
	}
	return why
}

// oneCall has a bounded turn take the upstream away, looks whether it is gone, and
// whether the next request has it back.
func (t *trial) oneCall(ctx context.Context) error {
	if err := t.empty(ctx); err != nil {
		return err
	}
	r := t.request(t.bound.System, t.options.Model, 3333)
	r.settings.Bounded = true
	t.forget = append(t.forget, r.prompt)
	if err := t.start(ctx, r, ""); err != nil {
		return err
	}
	barred := word()
	t.forget = append(t.forget, barred)
	if _, err := t.Turn(ctx, jsontext.Value(`"`+barred+`"`), Handler{}); err == nil {
		return errors.New("a second call was answered")
	}
	if slices.ContainsFunc(t.upstream.Bodies(), func(b []byte) bool { return bytes.Contains(b, []byte(barred)) }) {
		return errors.New("a second call reached the upstream")
	}
	if err := t.empty(ctx); err != nil {
		return err
	}
	return t.serve(ctx, t.request(t.bound.System, t.options.Model, 3333))
}

// probeFormat constrains an answer to an object with that property.
func probeFormat(property string) jsontext.Value {
	return jsontext.Value(`{"type":"json_schema","schema":{"type":"object","properties":{"` + property +
		`":{"type":"string"}},"additionalProperties":false}}`)
}

// output serves a request with an effort and a format.
func (t *trial) output(ctx context.Context) error {
	if err := t.empty(ctx); err != nil {
		return err
	}
	r := t.request(t.bound.System, t.options.Model, 3333)
	property := word()
	r.settings.Effort, r.settings.Format = "low", probeFormat(property)
	t.forget = append(t.forget, r.prompt, property)
	if err := t.start(ctx, r, ""); err != nil {
		return err
	}
	return t.sawExtras(r, nil)
}

// tools has a turn park on a call and go on, and leaves another one parked.
func (t *trial) tools(ctx context.Context) error {
	r, err := t.park(ctx)
	if err != nil {
		return err
	}
	said, formatted := word(), word()
	r.settings.ToolChoice, r.settings.Format = jsontext.Value(`{"type":"none"}`), probeFormat(formatted)
	answer, err := t.Resume(ctx, r.settings, []ToolResult{{ID: r.call, Content: jsontext.Value(`"` + said + `"`)}}, Handler{})
	if err != nil {
		return err
	}
	if answer.Calls != nil || answer.StopReason != message.StopEndTurn {
		return fmt.Errorf("a resumed turn ended with %q", answer.StopReason)
	}
	t.forget = append(t.forget, said, formatted)
	r.words[said] = message.RoleUser
	if err := t.sawExtras(r, []byte(said)); err != nil {
		return err
	}
	if t.options.Features.Emptying == EmptyNever {
		return nil
	}
	if _, err := t.park(ctx); err != nil {
		return err
	}
	if err := t.empty(ctx); err != nil {
		return err
	}
	return t.serve(ctx, t.request(t.bound.System, t.options.Model, 3333))
}

// park serves a request whose answer calls a tool.
func (t *trial) park(ctx context.Context) (*trialRequest, error) {
	if err := t.empty(ctx); err != nil {
		return nil, err
	}
	// Not every model takes a choice that forces a tool; this one does.
	r := t.request(t.bound.System, otherModel, 3333)
	name, described, property := word(), word(), word()
	t.forget = append(t.forget, r.prompt, name, described, property)
	r.settings.Tools = []message.Tool{{
		Name: name, Description: strings.Repeat("long ", 1000) + described,
		InputSchema: jsontext.Value(`{"type":"object","properties":{"` + property + `":{"$ref":"#/$defs/text"}},"$defs":{"text":{"type":"string"}},"required":["` + property + `"],"additionalProperties":false}`),
	}}
	r.settings.ToolChoice = jsontext.Value(`{"type":"tool","name":"` + name + `"}`)
	if err := t.start(ctx, r, "[[tool="+name+"]]"); err != nil {
		return nil, err
	}
	if len(t.parked) != 1 {
		return nil, errors.New("a call of a tool didn't park the turn")
	}
	r.call = t.parked[0]
	return r, t.sawExtras(r, nil)
}

// empty takes what earlier requests left out of the process, if it can.
func (t *trial) empty(ctx context.Context) error {
	if t.options.Features.Emptying == EmptyNever {
		return nil
	}
	t.former = append(t.former, t.forget...)
	t.forget = nil
	return t.Empty(ctx)
}

// sawExtras looks at the upstream body of the request; the last that holds the
// text, if one is given.
func (t *trial) sawExtras(r *trialRequest, holds []byte) error {
	bodies := t.upstream.Bodies()
	i := len(bodies) - 1
	for i >= 0 && (!bytes.Contains(bodies[i], []byte(r.prompt)) || !bytes.Contains(bodies[i], holds)) {
		i--
	}
	if i < 0 {
		return errors.New("the prompt didn't reach the upstream")
	}
	former := t.former
	if t.options.Features.Emptying == EmptyNever {
		former = nil
	}
	if err := r.check(bodies[i], former, t.options.Features); err != nil {
		return err
	}
	var sent struct {
		Tools        []message.Tool `json:"tools"`
		ToolChoice   jsontext.Value `json:"tool_choice"`
		OutputConfig struct {
			Effort string         `json:"effort"`
			Format jsontext.Value `json:"format"`
		} `json:"output_config"`
	}
	if err := json.Unmarshal(bodies[i], &sent); err != nil {
		return fmt.Errorf("decode the upstream body: %w", err)
	}
	s := &r.settings
	switch {
	case !slices.EqualFunc(sent.Tools, s.Tools, func(got, want message.Tool) bool {
		return got.Name == toolPrefix+want.Name && got.Description == want.Description && bytes.Equal(got.InputSchema, want.InputSchema)
	}):
		return errors.New("the tools that reached the upstream aren't the request's")
	case s.Effort != "" && sent.OutputConfig.Effort != s.Effort:
		return fmt.Errorf("the effort that reached the upstream is %q", sent.OutputConfig.Effort)
	case !bytes.Equal(sent.OutputConfig.Format, s.Format):
		return errors.New("the output format that reached the upstream isn't the request's")
	}
	var choice jsontext.Value
	if s.ToolChoice != nil {
		var err error
		if choice, err = prefixName(s.ToolChoice); err != nil {
			return err
		}
		if err := sent.ToolChoice.Canonicalize(); err != nil {
			return fmt.Errorf("decode the upstream body: %w", err)
		}
	}
	if !bytes.Equal(sent.ToolChoice, choice) {
		return errors.New("the tool_choice that reached the upstream isn't the request's")
	}
	return nil
}
