package claudecli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// ProbeUpstream is an imitation of the Messages API on loopback that keeps what
// it was sent. It obeys three directives in the last prompt: [[hang]] (never
// answer), [[error=529]] and [[tool=NAME]] (call the tool whose name ends in that).
type ProbeUpstream interface {
	URL() string
	// Bodies gives the bodies of all requests for a message so far, oldest first.
	Bodies() [][]byte
	// Seen waits until a body that holds the text has come.
	Seen(ctx context.Context, text string) error
}

// probeTimeout bounds the probe of one mode. A whole one takes about a second.
const probeTimeout = 45 * time.Second

// modes are what Probe tries, best first.
var modes = []Features{
	{Emptying: EmptyByRewind, ChangeSystem: true, LiveSettings: true, ExtraBody: true, ClientTools: true, OneCall: true},
	{Emptying: EmptyByClear, LiveSettings: true, ExtraBody: true, ClientTools: true, OneCall: true},
	{Emptying: EmptyNever, LiveSettings: true, ExtraBody: true, ClientTools: true, OneCall: true},
	{Emptying: EmptyNever},
}

// Probe finds out what the installed CLI can do: it runs the CLI against the
// upstream and looks at what arrives there, not at what the CLI acknowledges.
// The first mode in which nothing of a request shows up in a later one holds.
// The error says why none does.
func Probe(ctx context.Context, options Options, upstream ProbeUpstream) (Features, error) {
	options.BaseURL = upstream.URL()
	options.APIKey, options.AuthToken = "probe", ""
	// The operator's HOME must not be touched by a trial, nor his upstream.
	options.Home = ""
	options.Env = slices.DeleteFunc(slices.Clone(options.Env), func(pair string) bool { return strings.HasPrefix(pair, "ANTHROPIC_") })
	var why []string
	for _, mode := range modes {
		options.Features = mode
		found, err := tryMode(ctx, options, upstream)
		if err == nil {
			found.Why = append(why, found.Why...)
			return found, nil
		}
		if ctx.Err() != nil || found.Version == "" {
			// It didn't even start: no other mode would.
			return Features{}, err
		}
		why = append(why, fmt.Sprintf("%s: %v", mode.Emptying, err))
	}
	return Features{}, fmt.Errorf("no mode works: %v", why)
}

// trial runs requests on one process and remembers the words that each used.
type trial struct {
	*Process
	upstream ProbeUpstream
	former   []string
	forget   []string // what will be former after the next emptying
}

// trialRequest is one request of a trial. Its words are unique.
type trialRequest struct {
	settings Settings
	history  []message.Turn
	prompt   string
	// before and after stand around the prompt.
	before, after string
	words         map[string]string // word → the role under which it must arrive
	call          string            // the id of the call on which it is parked
}

func tryMode(ctx context.Context, options Options, upstream ProbeUpstream) (Features, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	process, err := Start(options)
	if err != nil {
		return Features{}, err
	}
	defer process.Close()
	found := options.Features
	err = process.Ready(ctx)
	found.Version = process.Version()
	if err != nil {
		return found, err
	}
	t := &trial{Process: process, upstream: upstream}
	if err := t.run(ctx, options.Features); err != nil {
		return found, err
	}
	found.Why = t.extras(ctx, &found)
	return found, nil
}

const otherModel = "claude-sonnet-4-5" // any that both versions know and isn't the first

func (t *trial) run(ctx context.Context, f Features) error {
	system := word()
	first := t.request(system, t.options.Model, 1111)
	first.withHistory()
	if err := t.mentionFile(first); err != nil {
		return err
	}
	if err := t.serve(ctx, first); err != nil || f.Emptying == EmptyNever {
		return err
	}
	if err := t.next(ctx, first); err != nil {
		return err
	}
	if f.ChangeSystem {
		t.former = append(t.former, system)
		system = word()
	}
	second := t.request(system, otherModel, 2222)
	second.before = "/effort low " // must arrive as text
	if err := t.serve(ctx, second); err != nil {
		return err
	}
	if err := t.next(ctx, second); err != nil {
		return err
	}
	abandoned := t.request(system, otherModel, 2222)
	if err := t.abandon(ctx, abandoned); err != nil {
		return err
	}
	if err := t.next(ctx, abandoned); err != nil {
		return err
	}
	failed := t.request(system, otherModel, 2222)
	if err := t.fail(ctx, failed); err != nil {
		return err
	}
	if err := t.next(ctx, failed); err != nil {
		return err
	}
	last := t.request(system, t.options.Model, 3333)
	t.forget = append(t.forget, last.prompt)
	return t.serve(ctx, last)
}

// word makes a word that occurs nowhere else.
func word() string { return "probe-" + NewUUID() }

func (t *trial) request(system, model string, maxTokens int64) *trialRequest {
	prompt := word()
	return &trialRequest{
		settings: Settings{System: system, Model: model, MaxTokens: maxTokens},
		prompt:   prompt, words: map[string]string{prompt: message.RoleUser},
	}
}

func (r *trialRequest) withHistory() {
	for _, role := range []string{message.RoleUser, message.RoleAssistant} {
		w := word()
		r.words[w] = role
		r.history = append(r.history, message.Turn{Role: role, Content: jsontext.Value(`"` + w + `"`)})
	}
}

// mentionFile has the prompt mention a file, as the CLI's users do to attach it.
// Its content must not be sent.
func (t *trial) mentionFile(r *trialRequest) error {
	secret := word()
	path := filepath.Join(t.folder, "work", "mentioned.txt")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		return fmt.Errorf("write a file to mention: %w", err)
	}
	r.after = " see @" + path
	t.former = append(t.former, secret)
	return nil
}

func (t *trial) start(ctx context.Context, r *trialRequest, directive string) error {
	if err := t.Bind(ctx, r.settings); err != nil {
		return err
	}
	if err := t.Replay(ctx, r.history); err != nil {
		return err
	}
	prompt, err := json.Marshal(r.before + r.prompt + r.after + directive)
	if err != nil {
		return err
	}
	_, err = t.Turn(ctx, prompt, Handler{})
	return err
}

func (t *trial) next(ctx context.Context, former *trialRequest) error {
	for w := range former.words {
		t.former = append(t.former, w)
	}
	return t.Empty(ctx)
}

// serve runs a request and looks at what reached the upstream.
func (t *trial) serve(ctx context.Context, r *trialRequest) error {
	if err := t.start(ctx, r, ""); err != nil {
		return err
	}
	bodies := t.upstream.Bodies()
	i := slices.IndexFunc(bodies, func(b []byte) bool { return bytes.Contains(b, []byte(r.prompt)) })
	if i < 0 {
		return errors.New("the prompt didn't reach the upstream")
	}
	return r.check(bodies[i], t.former, t.options.Features)
}

func (r *trialRequest) check(body []byte, former []string, f Features) error {
	for _, w := range former {
		if bytes.Contains(body, []byte(w)) {
			return errors.New("words that aren't the request's own reached the upstream")
		}
	}
	var sent struct {
		Model     string         `json:"model"`
		MaxTokens int64          `json:"max_tokens"`
		System    jsontext.Value `json:"system"`
		Thinking  struct {
			Type string `json:"type"`
		} `json:"thinking"`
		Messages []message.Turn `json:"messages"`
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		return fmt.Errorf("decode the upstream body: %w", err)
	}
	switch {
	case sent.Model != r.settings.Model:
		return fmt.Errorf("the model that reached the upstream is %q", sent.Model)
	case f.LiveSettings && sent.MaxTokens != r.settings.MaxTokens:
		return fmt.Errorf("the max_tokens that reached the upstream is %d", sent.MaxTokens)
	case !bytes.Contains(sent.System, []byte(r.settings.System)):
		return errors.New("the system prompt didn't reach the upstream")
	case sent.Thinking.Type != "" && sent.Thinking.Type != "disabled":
		return errors.New("thinking wasn't off")
	}
	for w, role := range r.words {
		if !slices.ContainsFunc(sent.Messages, func(turn message.Turn) bool {
			return turn.Role == role && bytes.Contains(turn.Content, []byte(w))
		}) {
			return fmt.Errorf("a message of role %s didn't reach the upstream as such", role)
		}
	}
	return nil
}

// abandon leaves a request while the upstream works on it.
func (t *trial) abandon(ctx context.Context, r *trialRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := make(chan error, 1)
	go func() {
		seen <- t.upstream.Seen(ctx, r.prompt)
		cancel()
	}()
	err := t.start(ctx, r, "[[hang]]")
	if seenErr := <-seen; seenErr != nil {
		return fmt.Errorf("a prompt to abandon didn't reach the upstream: %w", seenErr)
	}
	if !errors.Is(err, context.Canceled) {
		return fmt.Errorf("an abandoned turn ended with: %w", err)
	}
	return nil
}

// fail has the upstream refuse a request: the CLI must say so, and not try
// again by itself.
func (t *trial) fail(ctx context.Context, r *trialRequest) error {
	var e *apierror.Error
	err := t.start(ctx, r, "[[error=529]]")
	if !errors.As(err, &e) || e.Upstream == nil || e.Upstream.Status != apierror.StatusOverloaded {
		return fmt.Errorf("an overloaded upstream was reported as: %w", err)
	}
	tries := 0
	for _, b := range t.upstream.Bodies() {
		if bytes.Contains(b, []byte(r.prompt)) {
			tries++
		}
	}
	if tries != 1 {
		return fmt.Errorf("the CLI retried by itself: %d tries", tries)
	}
	return nil
}
