package route

import (
	"errors"
	"fmt"
	"strings"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// Fallbacks say what serves a request instead of what has failed. The zero value
// has none.
type Fallbacks struct {
	// backends is which backend stands in for another.
	backends map[string]string
	// aliases is which model stands in for the one that an alias, or the service
	// itself, chose; ids also for one that a caller named by its id. All are ids.
	aliases, ids map[string]string
}

// ParseFallbacks reads pairs of the form FAILED:INSTEAD, where both are backends, or
// both are models: aliases, or ids. resolve gives the id of a model.
func ParseFallbacks(pairs []string, resolve func(model string) (id string, ok bool)) (Fallbacks, error) {
	f := Fallbacks{backends: map[string]string{}, aliases: map[string]string{}, ids: map[string]string{}}
	for _, pair := range pairs {
		failed, instead, _ := strings.Cut(pair, ":")
		if isBackend(failed) || isBackend(instead) {
			if !isBackend(failed) || !isBackend(instead) {
				return f, fmt.Errorf("%q: a backend can't stand in for a model", pair)
			}
			if failed == instead || f.backends[failed] != "" {
				return f, fmt.Errorf("%q: a backend needs another one, and only one, to stand in for it", pair)
			}
			f.backends[failed] = instead
			continue
		}
		from, known := modelID(failed, resolve)
		to, knownToo := modelID(instead, resolve)
		if !known || !knownToo {
			return f, fmt.Errorf("%q: must be two models, each by its alias or id, or two backends", pair)
		}
		models := f.aliases
		if failed == from {
			models = f.ids
		}
		if models[from] != "" {
			return f, fmt.Errorf("%q: a model needs only one other to stand in for it", pair)
		}
		models[from] = to
	}
	for _, models := range []map[string]string{f.aliases, f.ids} {
		for model := range models {
			if f.circular(model) {
				return f, fmt.Errorf("%s stands in for itself in the end", model)
			}
		}
	}
	return f, nil
}

func modelID(name string, resolve func(string) (string, bool)) (id string, ok bool) {
	if id, ok = resolve(name); !ok && FullID(name) {
		return name, true
	}
	return id, ok
}

func isBackend(name string) bool { return name == gateway.BackendCLI || name == gateway.BackendDirect }

// circular says that a chain of models comes back to where it was.
func (f Fallbacks) circular(model string) bool {
	seen := map[string]bool{}
	for ; model != ""; model = f.model(model, false) {
		if seen[model] {
			return true
		}
		seen[model] = true
	}
	return false
}

// model gives the model that stands in for another, "" for none. named says that the
// caller has named it by its id.
func (f Fallbacks) model(model string, named bool) string {
	if to := f.ids[model]; to != "" || named {
		return to
	}
	return f.aliases[model]
}

// Next implements gateway.Fallback: first the other backend with the same model, then
// the next model where the request was sent first.
func (r *Router) Next(call *gateway.Call, failed error) gateway.Backend {
	if call.CountOnly || !apierror.From(failed).MayPass() {
		return nil
	}
	chosen := call.Chosen()
	if call.Backend == chosen.Backend {
		if name := r.other(call, failed); name != "" && r.serves(name, call) {
			call.Backend = name
			return r.options.Backends[name]
		}
	}
	named := call.Model == chosen.Model && call.Request.Model == call.Model
	model := r.options.Fallbacks.model(call.Model, named)
	if model == "" {
		return nil
	}
	call.Backend, call.Model = chosen.Backend, model
	return r.options.Backends[chosen.Backend]
}

// other gives the backend that may serve a call instead of the one it was sent to
// first, "" for none: not where the caller named that one.
func (r *Router) other(call *gateway.Call, failed error) string {
	if call.Prefer != "" {
		return ""
	}
	if name := r.options.Fallbacks.backends[call.Backend]; name != "" {
		return name
	}
	// The breaker closed behind another request where nothing named a backend: the
	// choice is made again.
	if errors.Is(failed, ErrOpen) && r.options.Backends[r.options.DefaultBackend] == nil {
		for _, name := range order {
			if name != call.Backend {
				return name
			}
		}
	}
	return ""
}

// serves says whether a backend can serve a call now, as it is meant.
func (r *Router) serves(name string, call *gateway.Call) bool {
	return r.options.Backends[name] != nil && r.usable(name, call.Model) && (r.options.Suits == nil || r.options.Suits(name, call))
}

// usable says whether a backend can serve requests for a model now.
func (r *Router) usable(name, model string) bool {
	return (r.options.Usable == nil || r.options.Usable(name)) && r.options.Breakers.admits(name, model)
}
