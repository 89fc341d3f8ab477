package app

import (
	"maps"
	"slices"
	"strings"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/route"
	"claude-code-api-service/internal/usage"
)

// processOptions are for the endpoints of the former service's own family.
func (a *App) processOptions(n *generation, g *gateway.Gateway) processapi.Options {
	return processapi.Options{
		Gateway: g, Jobs: a.jobs, Callers: a.authenticator, Once: a.once, Usage: usage.NewReports(usage.ReportsOptions{Store: a.store}),
		Budget: a.lasting.admitter.TokensLeft, Recommend: route.Recommend, Providers: a.providers(n.catalogue),
		Models: processModels(n.config.ModelMap), Rules: rules(n.catalogue, n.config.ModelMap),
		MaxBody: n.config.MaxBodyBytes, Ran: a.exporter.Ran, Log: a.log,
	}
}

// handleProcess has the present generation do what was asked for later.
func (a *App) handleProcess() {
	for kind, work := range processapi.Works(func() *processapi.Handler { return a.now().process }) {
		a.jobs.Handle(kind, work)
	}
}

// processModels puts the configured names in front of the rules for other
// vendors' models.
func processModels(configured map[string]string) []processapi.ModelRule {
	var rules []processapi.ModelRule
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		rules = append(rules, processapi.ModelRule{Name: strings.ToLower(name), Model: configured[name]})
	}
	return append(rules, processapi.DefaultModels()...)
}

// providers lists the backends under the names of the former service.
func (a *App) providers(catalogue *pricing.Catalogue) []processapi.Provider {
	var models []processapi.ProviderModel
	add := func(id string, m pricing.Model) {
		models = append(models, processapi.ProviderModel{
			ID: id, DisplayName: m.DisplayName, ContextWindow: m.ContextWindow, MaxTokens: m.Rules.MaxOutputTokens,
		})
	}
	for _, alias := range catalogue.Aliases() {
		id, _ := catalogue.Resolve(alias)
		if m, ok := catalogue.Find(id); ok {
			add(alias, m)
		}
	}
	for _, m := range catalogue.Models() {
		add(m.ID, m)
	}
	return []processapi.Provider{
		{
			Name: processapi.ProviderClaudeCode, DisplayName: "Claude Code CLI", Backend: gateway.BackendCLI, Models: models,
			Available: func() bool { return a.pool != nil && a.usable(gateway.BackendCLI) },
		},
		{
			Name: processapi.ProviderAnthropic, DisplayName: "Anthropic Messages API", Backend: gateway.BackendDirect, Models: models,
			Available: func() bool { return a.direct != nil },
		},
	}
}
