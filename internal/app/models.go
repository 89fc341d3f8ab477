package app

import (
	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/route"
)

// rules gives what a model takes of a request, by the name that it is asked for
// under: an alias, an id, or one that the operator configured. What auto chooses
// isn't known yet; what opus takes, every one that it may choose takes.
func rules(catalogue *pricing.Catalogue, modelMap map[string]string) func(model string) message.Rules {
	return func(model string) message.Rules {
		if _, alias := catalogue.Resolve(model); !alias && modelMap[model] != "" {
			model = modelMap[model]
		}
		if model == "" || model == route.Auto {
			model = route.Opus
		}
		return catalogue.Rules(model)
	}
}

// resolve finds what models lists: the id of an alias, and an id itself, which need
// not begin as Anthropic's do.
func resolve(catalogue *pricing.Catalogue) func(name string) (id string, ok bool) {
	return func(name string) (string, bool) {
		if id, ok := catalogue.Resolve(name); ok {
			return id, true
		}
		m, ok := catalogue.Find(name)
		return m.ID, ok && m.ID == name
	}
}

// models lists the full ids and, in front of them, the aliases.
func models(catalogue *pricing.Catalogue) []anthropicapi.Model {
	var list []anthropicapi.Model
	for _, alias := range catalogue.Aliases() {
		id, _ := catalogue.Resolve(alias)
		if m, ok := catalogue.Find(id); ok {
			list = append(list, anthropicapi.Model{ID: alias, DisplayName: m.DisplayName, Created: m.Created})
		}
	}
	for _, m := range catalogue.Models() {
		list = append(list, anthropicapi.Model{ID: m.ID, DisplayName: m.DisplayName, Created: m.Created})
	}
	return list
}
