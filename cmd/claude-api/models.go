package main

import (
	"context"
	"os"

	"claude-code-api-service/client"
)

type routeCommand struct {
	Recommend recommendCommand `cmd:"" help:"Say which model the automatic choice takes for a prompt, and why."`
}

type recommendCommand struct {
	remote        `embed:""`
	listOutput    `embed:""`
	Prompt        string `arg:"" optional:"" help:"The prompt; without it, or with \"-\", standard input is."`
	ContextTokens int    `help:"The size of the whole context in tokens; 0: not known."`
}

func (c *recommendCommand) Run() error {
	if c.ContextTokens < 0 {
		return misused("--context-tokens: must not be negative")
	}
	prompt, err := textOf(c.Prompt, "the prompt")
	if err != nil {
		return err
	}
	return c.call(func(ctx context.Context, service *client.Client) error {
		r, err := service.Route(ctx, prompt, c.ContextTokens)
		if err != nil {
			return err
		}
		return printOne(os.Stdout, c.Output, []column[client.Recommendation]{
			{name: "recommended_model", title: "Model", value: func(r client.Recommendation) any { return r.Model }},
			{name: "reasoning", title: "Why", value: func(r client.Recommendation) any { return r.Reasoning }},
			{name: "budget_status", title: "Budget", value: func(r client.Recommendation) any { return r.Budget.Status }},
			{name: "budget_limit", title: "Tokens", value: func(r client.Recommendation) any { return orUnknown(r.Budget.Limit) }},
			{name: "budget_remaining", title: "Left", value: func(r client.Recommendation) any { return orUnknown(r.Budget.Remaining) }},
		}, *r)
	})
}

// orUnknown gives a number, or nil where there is none.
func orUnknown(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}

type providersCommand struct {
	List listProvidersCommand `cmd:"" help:"List the ways in which answers are made."`
}

type listProvidersCommand struct {
	remote     `embed:""`
	listOutput `embed:""`
}

func (c *listProvidersCommand) Run() error {
	return c.call(func(ctx context.Context, service *client.Client) error {
		providers, err := service.Providers(ctx)
		if err != nil {
			return err
		}
		return printList(os.Stdout, c.Output, []column[client.Provider]{
			{name: "name", title: "Name", value: func(p client.Provider) any { return p.Name }},
			{name: "display_name", title: "Is", value: func(p client.Provider) any { return p.DisplayName }},
			{name: "backend", title: "Backend", value: func(p client.Provider) any { return p.Backend }},
			{name: "available", title: "Available", value: func(p client.Provider) any { return p.Available }},
			{name: "models", value: func(p client.Provider) any { return p.Models }},
			{title: "Models", value: func(p client.Provider) any { return len(p.Models) }},
		}, providers)
	})
}

type modelsCommand struct {
	List listModelsCommand `cmd:"" help:"List the models that the service knows."`
}

type listModelsCommand struct {
	remote     `embed:""`
	listOutput `embed:""`
	Provider   string `help:"Only those of a provider, with what they hold."`
}

func (c *listModelsCommand) Run() error {
	return c.call(func(ctx context.Context, service *client.Client) error {
		if c.Provider != "" {
			models, err := service.ProviderModels(ctx, c.Provider)
			if err != nil {
				return err
			}
			return printList(os.Stdout, c.Output, []column[client.ProviderModel]{
				{name: "id", title: "ID", value: func(m client.ProviderModel) any { return m.ID }},
				{name: "name", title: "Name", value: func(m client.ProviderModel) any { return m.Name }},
				{name: "context_window", title: "Context", value: func(m client.ProviderModel) any { return orUnknown(m.ContextWindow) }},
				{name: "max_tokens", title: "Answer", value: func(m client.ProviderModel) any { return orUnknown(m.MaxTokens) }},
			}, models)
		}
		models, err := service.Models(ctx)
		if err != nil {
			return err
		}
		return printList(os.Stdout, c.Output, []column[client.Model]{
			{name: "id", title: "ID", value: func(m client.Model) any { return m.ID }},
			{name: "display_name", title: "Name", value: func(m client.Model) any { return m.DisplayName }},
			{name: "owned_by", title: "Owner", value: func(m client.Model) any { return m.OwnedBy }},
			{name: "created_at", title: "Created", value: func(m client.Model) any {
				if m.CreatedAt.Unix() <= 0 {
					return nil // the service doesn't know
				}
				return m.CreatedAt
			}},
		}, models)
	})
}
