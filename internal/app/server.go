package app

import (
	"context"
	"fmt"
	"net/http"

	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/docspage"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/httpserver"
	"claude-code-api-service/internal/openaiapi"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/responsesapi"
	"claude-code-api-service/internal/telemetry"
)

// family is one client protocol: its routes, and what it says of them.
type family interface {
	Register(mux *http.ServeMux)
	Operations() []openapi.Operation
}

// about heads the OpenAPI document.
const about = "One API in front of the Claude Code CLI and of the Anthropic Messages API, for the clients of OpenAI, of Anthropic, " +
	"and of the service that this one replaces.\n\n" +
	"Every generating endpoint takes the header `X-Claude-Backend: cli` or `direct`, or `use_cli` in its body. Answers say in " +
	"`X-Claude-Backend` which one served them, in `X-Claude-Warnings` what couldn't be honoured, in `X-Claude-Fallback` what served them instead of what had failed, in `Server-Timing` how long each " +
	"stage took, and in `X-Request-ID` what the ledger calls them.\n\n" +
	"A generating request that carries an `Idempotency-Key` is served once: sent again within 24 hours, it gets the same answer."

func (a *App) newServer(g *gateway.Gateway, catalogue *pricing.Catalogue, instruments *telemetry.Telemetry) (*httpserver.Server, error) {
	limit := a.config.MaxBodyBytes
	stream := a.makeStream(g, catalogue, instruments.Registerer())
	families := []family{
		openaiapi.New(openaiapi.Options{Gateway: g, Once: a.once, Rules: rules(catalogue, a.config.ModelMap), MaxBody: limit, Log: a.log}),
		responsesapi.New(responsesapi.Options{
			Gateway: g, Archive: a.archive, Once: a.once, TTL: a.config.ResponseTTL.Duration(),
			Rules: rules(catalogue, a.config.ModelMap), MaxBody: limit, Log: a.log,
		}),
		anthropicapi.New(anthropicapi.Options{Gateway: g, Once: a.once, Models: models(catalogue), MaxBody: limit, Log: a.log}),
		a.process,
		stream,
	}
	var operations []openapi.Operation
	var register []func(*http.ServeMux)
	for _, f := range families {
		operations = append(operations, f.Operations()...)
		register = append(register, f.Register)
	}
	operations = append(operations, httpserver.Operations()...)
	document, err := openapi.Write(openapi.Info{Title: "Claude Code API", Version: Version, Description: about}, operations)
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	page, err := docspage.New(document)
	if err != nil {
		return nil, fmt.Errorf("make the page of the documentation: %w", err)
	}
	var endpoints []string
	for _, o := range operations {
		endpoints = append(endpoints, o.Method+" "+o.Path)
	}
	return httpserver.New(httpserver.Options{
		Name: Name, Version: Version,
		Register:  append(register, page.Register),
		Endpoints: endpoints,
		Drain:     []func(context.Context) error{stream.Stop, a.process.Stop, a.once.Stop},
		Metrics:   instruments.Handler(),
		Services:  a.services,
		Ready:     a.ready,
		Logger:    a.log,
	}), nil
}
