// Package route chooses the backend and the model of a request.
package route

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// The aliases of models, and the word that leaves the choice to the service.
const (
	Auto   = "auto"
	Haiku  = "haiku"
	Sonnet = "sonnet"
	Opus   = "opus"
)

// claudePrefix begins every full model id that passes through.
const claudePrefix = "claude"

// bytesPerToken is the rough size of a token by which the context is measured
// for the automatic choice.
const bytesPerToken = 4

// order is in which the backends are tried where nothing names one.
var order = [...]string{gateway.BackendCLI, gateway.BackendDirect}

// Options are what a Router needs.
type Options struct {
	// Backends are those that exist, by name; either may be absent or nil.
	Backends map[string]gateway.Backend
	// DefaultBackend serves requests that ask for none; "" means whichever
	// exists, the CLI first.
	DefaultBackend string
	// Agentic serves calls that ask for a process with tools of its own (Call.Work), as
	// the CLI's; nil: nothing does.
	Agentic gateway.Backend
	// Usable says whether a backend can serve requests now; one that can't isn't
	// chosen for a request that leaves the choice open. nil: all can.
	Usable func(backend string) bool
	// Breakers are those that guard the backends: where the choice is open, one isn't
	// chosen whose breaker is. nil: there are none.
	Breakers *Breakers
	// Fallbacks are what Next follows.
	Fallbacks Fallbacks
	// Suits says whether a backend can serve a call as it is meant, without
	// decoding its messages; where the choice is open, one that can't is only
	// taken when no other is there. nil: all can.
	Suits func(backend string, call *gateway.Call) bool
	// RefuseTools refuses requests with tools of the caller's own.
	RefuseTools bool
	// Resolve gives the full id of an alias, and a known model's id for itself.
	Resolve func(alias string) (id string, ok bool)
	// ModelMap names the models that stand for others: a full id or an alias for
	// each name. nil maps nothing.
	ModelMap map[string]string
	// BudgetLeft gives the tokens that a caller may still spend, nil when there
	// is no limit. A nil func means that nobody has a limit.
	BudgetLeft func(caller *gateway.Caller) *int64
}

// Router implements gateway.Router and gateway.Fallback. It is safe for concurrent use and does no
// I/O.
type Router struct{ options Options }

// New makes a Router. The maps must not change afterwards.
func New(options Options) *Router { return &Router{options} }

// Route implements gateway.Router.
func (r *Router) Route(call *gateway.Call) (gateway.Backend, error) {
	if r.options.RefuseTools && call.Request.HasTools {
		return nil, &apierror.Error{
			Category: apierror.Permission, Param: "tools",
			Message: "tools: requests with tools are switched off here (tool-passthrough-enabled)",
		}
	}
	model, err := r.model(call)
	if err != nil {
		return nil, err
	}
	if call.Work != nil {
		return r.agentic(call, model)
	}
	name, backend, err := r.backend(call, model)
	if err != nil {
		return nil, err
	}
	call.Backend, call.Model = name, model
	return backend, nil
}

// agentic chooses for a call that asks for tools of the CLI's own.
func (r *Router) agentic(call *gateway.Call, model string) (gateway.Backend, error) {
	switch {
	case call.Prefer == gateway.BackendDirect:
		return nil, apierror.Invalid("use_cli", "use_cli or X-Claude-Backend asks for the backend %s, which has no tools: allowed_tools, working_directory and session_id are the CLI's", call.Prefer)
	case r.options.Agentic == nil:
		return nil, &apierror.Error{
			Category: apierror.BadRequest, Code: apierror.CodeNotImplemented,
			Message: "allowed_tools, working_directory, session_id: this service does no work with tools: it has no CLI, or --max-tasks is 0",
		}
	}
	call.Backend, call.Model = gateway.BackendCLI, model
	return r.options.Agentic, nil
}

// backend finds the backend that the request asks for, else the default one,
// else the one that serves it best. Tokens are counted where they can be,
// whatever is the default.
func (r *Router) backend(call *gateway.Call, model string) (string, gateway.Backend, error) {
	prefer := call.Prefer
	if prefer == "" && call.CountOnly && r.options.Backends[gateway.BackendDirect] != nil {
		prefer = gateway.BackendDirect
	}
	if prefer != "" {
		if backend := r.options.Backends[prefer]; backend != nil {
			return prefer, backend, nil
		}
		return "", nil, r.absent(prefer)
	}
	if backend := r.options.Backends[r.options.DefaultBackend]; backend != nil {
		return r.options.DefaultBackend, backend, nil
	}
	// One that can't serve is taken when there is no other: it says why.
	found, best := "", -1
	for _, name := range order {
		if r.options.Backends[name] == nil {
			continue
		}
		fit := 0
		if r.usable(name, model) {
			fit++
			if r.options.Suits == nil || r.options.Suits(name, call) {
				fit++
			}
		}
		if fit > best {
			found, best = name, fit
		}
	}
	if found == "" {
		return "", nil, errNone()
	}
	return found, r.options.Backends[found], nil
}

func errNone() error { return apierror.New(apierror.Overloaded, "no backend is available") }

// absent refuses a preference that can't be met. It is the request's fault, not
// a failure: which backends there are is configuration, and asking again won't
// change it.
func (r *Router) absent(prefer string) error {
	var have []string
	for _, name := range order {
		if r.options.Backends[name] != nil {
			have = append(have, name)
		}
	}
	if len(have) == 0 {
		return errNone()
	}
	return apierror.Invalid("use_cli", "use_cli or X-Claude-Backend asks for the backend %s, which isn't configured; available: %s",
		prefer, strings.Join(have, ", "))
}

// model finds the full id that goes to the backend.
func (r *Router) model(call *gateway.Call) (string, error) {
	requested := call.Request.Model
	switch requested {
	case "", Auto:
		alias, err := r.choose(call)
		if err != nil {
			return "", err
		}
		return r.resolve(requested, alias)
	}
	if id, ok := r.options.Resolve(requested); ok {
		return id, nil
	}
	if FullID(requested) {
		return requested, nil
	}
	if mapped, ok := r.options.ModelMap[requested]; ok {
		return r.resolve(requested, mapped)
	}
	return "", notFound(requested)
}

// resolve gives the id of an alias; a full id is its own.
func (r *Router) resolve(requested, alias string) (string, error) {
	if id, ok := r.options.Resolve(alias); ok {
		return id, nil
	}
	if strings.HasPrefix(alias, claudePrefix) {
		return alias, nil
	}
	return "", notFound(requested)
}

// maxModel is far longer than the id of any model, in bytes.
const maxModel = 128

// FullID says whether a name that isn't known here may be a model's id: the backend
// knows. It goes on the CLI's command line, and into the ledger.
func FullID(name string) bool {
	return strings.HasPrefix(name, claudePrefix) && len(name) <= maxModel &&
		!strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' })
}

func notFound(model string) error {
	return &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeModelNotFound, Param: "model",
		Message: fmt.Sprintf("model: %.128s doesn't exist or isn't available here", model),
	}
}

// choose makes the automatic choice. Only this one decodes the conversation.
func (r *Router) choose(call *gateway.Call) (string, error) {
	// A conversation that only the upstream understands is for it to judge.
	prompt := ""
	if conversation, err := call.Request.Conversation(); err == nil {
		prompt = text(conversation.Turns[len(conversation.Turns)-1])
	}
	var budget *int64
	if r.options.BudgetLeft != nil {
		budget = r.options.BudgetLeft(call.Caller)
	}
	alias, _ := Recommend(prompt, len(call.Request.Body())/bytesPerToken, budget)
	return alias, nil
}

// text gives a turn's words, without what isn't text.
func text(turn message.Turn) string {
	if turn.Content.Kind() == '"' {
		var whole string
		if err := json.Unmarshal(turn.Content, &whole); err != nil {
			return "" // Conversation has read it as valid JSON
		}
		return whole
	}
	var blocks []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(turn.Content, &blocks); err != nil {
		return "" // a block of a type we don't know, whose text isn't one
	}
	var texts []string
	for _, b := range blocks {
		if b.Text != "" {
			texts = append(texts, b.Text)
		}
	}
	return strings.Join(texts, "\n")
}
