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
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/responsesapi"
	"claude-code-api-service/internal/streamapi"
	"claude-code-api-service/internal/taskapi"
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

// makeFamilies makes a generation's protocols. Those that know of what runs beyond
// a request know also what the former generation's know.
func (a *App) makeFamilies(n *generation, g *gateway.Gateway) error {
	limit := n.config.MaxBodyBytes
	n.walk = g.Options
	takes := rules(n.catalogue, n.config.ModelMap)
	if former := a.now(); former != nil {
		n.process = former.process.With(a.processOptions(n, g))
		n.stream = former.stream.With(a.streamOptions(n, g))
		n.tasks = former.tasks.With(a.tasksOptions(n, g))
	} else {
		n.process = processapi.New(a.processOptions(n, g))
		n.stream = streamapi.New(a.streamOptions(n, g))
		n.tasks = taskapi.New(a.tasksOptions(n, g))
		registerStream(a.instruments.Registerer(), n.stream)
	}
	families := []family{
		openaiapi.New(openaiapi.Options{Gateway: g, Once: a.once, Rules: takes, MaxBody: limit, Log: a.log}),
		responsesapi.New(responsesapi.Options{
			Gateway: g, Archive: a.archive, Once: a.once, TTL: n.config.ResponseTTL.Duration(), Rules: takes, MaxBody: limit, Log: a.log,
		}),
		anthropicapi.New(anthropicapi.Options{Gateway: g, Once: a.once, Models: models(n.catalogue), MaxBody: limit, Log: a.log}),
		n.process,
		n.stream,
		n.tasks,
		a.capabilitiesAPI(g),
		a.sessionsAPI(n, g),
	}
	admin, err := a.addAdmin(n)
	if err != nil {
		return fmt.Errorf("make the dashboard: %w", err)
	}
	families = append(families, admin)
	var operations []openapi.Operation
	for _, f := range families {
		operations = append(operations, f.Operations()...)
		n.register = append(n.register, f.Register)
	}
	operations = append(operations, httpserver.Operations()...)
	document, err := openapi.Write(openapi.Info{Title: "Claude Code API", Version: Version, Description: about}, operations)
	if err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	page, err := docspage.New(document)
	if err != nil {
		return fmt.Errorf("make the page of the documentation: %w", err)
	}
	n.register = append(n.register, page.Register)
	for _, o := range operations {
		n.endpoints = append(n.endpoints, o.Method+" "+o.Path)
	}
	return nil
}

func (a *App) newServer(first *generation) *httpserver.Server {
	options := first.serverOptions()
	options.Name, options.Version = Name, Version
	options.Drain = []func(context.Context) error{first.stream.Stop, first.tasks.Stop, first.process.Stop, first.admin.Stop, a.once.Stop, a.jobs.Hand}
	options.DrainDelay = a.config.DrainDelay.Duration()
	options.Metrics = a.instruments.Handler()
	options.Services, options.Ready = a.services, a.ready
	options.Logger = a.log
	if a.exporter.Tracing() {
		options.Tracer = a.exporter
	}
	if a.certificate != nil {
		options.TLS = a.certificate.config()
	}
	return httpserver.New(options)
}

// serverOptions are what a generation changes of the server.
func (n *generation) serverOptions() httpserver.Options {
	return httpserver.Options{
		Register: n.register, Endpoints: n.endpoints, Links: n.links,
		CORSOrigins: n.config.CORSOrigin, RequestTimeout: n.config.RequestTimeout.Duration(),
	}
}
