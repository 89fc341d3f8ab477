package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/benchmark"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/simulator"
)

type demoCommand struct {
	Listen     string `help:"Address to listen on; if it is taken, another port is used." default:"127.0.0.1:8006" env:"CLAUDE_API_LISTEN"`
	ClaudePath string `help:"The Claude Code CLI's binary; \"off\" does without; empty looks for one, then installs it from npm." env:"CLAUDE_API_CLAUDE_PATH"`
	Requests   int    `help:"Warm and direct requests to measure." default:"20"`
	Cold       int    `help:"Requests with a process each." default:"5"`
	Once       bool   `help:"End after the table instead of leaving the service up."`
}

// Run shows what a request costs in three ways, on an imitation of the
// Anthropic API, and leaves the service up.
func (c *demoCommand) Run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder, err := os.MkdirTemp("", "claude-api-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	upstream := simulator.New(simulator.Options{})
	upstreamURL, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer upstream.Close()
	cli, err := c.findCLI(ctx)
	if err != nil {
		return err
	}
	progress("starting the service: SQLite in " + folder + ", an imitation of the Anthropic API on " + upstreamURL)
	service, key, err := c.start(ctx, cli, folder, upstreamURL)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(err, service.Stop(stopping))
	}()
	if err := c.measure(ctx, benchmark.NewService(service.URL(), key), cli, upstreamURL); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	admin, _, err := service.Keys().Create(ctx, apikey.Create{ProjectID: "demo", Name: "operator", Admin: true})
	if err != nil {
		return err
	}
	c.invite(service.URL(), key, admin)
	if !c.Once {
		<-ctx.Done()
		progress("stopping")
	}
	return nil
}

// noCLI stands for no CLI where a path is expected.
const noCLI = "off"

// findCLI gives the CLI's binary, or "off" with a word on why.
func (c *demoCommand) findCLI(ctx context.Context) (string, error) {
	switch {
	case strings.EqualFold(c.ClaudePath, noCLI):
		return noCLI, nil
	case c.ClaudePath != "":
		return namedCLI(c.ClaudePath)
	}
	if path := install.Find(); path != "" {
		progress("found the Claude Code CLI: " + path)
		return path, nil
	}
	path, err := pinnedCLI(ctx)
	if err != nil {
		progress("going on without the Claude Code CLI, so only the direct path is shown: " + err.Error())
		return noCLI, nil
	}
	return path, nil
}

func (c *demoCommand) start(ctx context.Context, cli, folder, upstream string) (*app.App, string, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	settings := config.Config{
		Listen: c.Listen, ClaudePath: cli, MaxWorkers: 4, PoolReuse: "same-project", Dashboard: true,
		SDKTimeout: config.Seconds(time.Minute), MaxBodyBytes: 32 << 20,
		Data:      config.Data{DataDir: filepath.Join(folder, "data"), Synchronous: "NORMAL"},
		Tasks:     config.Tasks{MaxTasks: 2},
		Anthropic: config.Anthropic{BaseURL: upstream, APIKey: "sk-simulator"},
	}
	service, err := app.New(ctx, &settings, log)
	if err != nil {
		return nil, "", err
	}
	key, err := c.serve(ctx, service, &settings)
	if err != nil {
		return nil, "", errors.Join(err, service.Stop(ctx))
	}
	return service, key, nil
}

func (c *demoCommand) serve(ctx context.Context, service *app.App, settings *config.Config) (string, error) {
	if err := service.Start(ctx); errors.Is(err, syscall.EADDRINUSE) {
		progress(settings.Listen + " is taken; using another port")
		settings.Listen = "127.0.0.1:0"
		err = service.Start(ctx)
		if err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	key, _, err := service.Keys().Create(ctx, apikey.Create{ProjectID: "demo", Name: "demo", RequestsPerMinute: new(int)})
	return key, err
}

// stageNames are the rows of the table, in the order of a request's walk.
var stageNames = []string{"auth", "decode", "admit", "queue", "bind", "first_byte", "generate", "record", "total"}

// measured is one column of the table.
type measured struct {
	name    string
	client  benchmark.Samples
	byStage map[string]benchmark.Samples
}

func (m *measured) add(reply *benchmark.Reply) {
	m.client = append(m.client, reply.Took)
	for stage, took := range reply.Stages {
		m.byStage[stage] = append(m.byStage[stage], took)
	}
}

func (c *demoCommand) measure(ctx context.Context, service *benchmark.Service, cli, upstream string) error {
	if cli != noCLI {
		progress("probing the CLI and starting 4 workers")
	}
	waiting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := service.Ready(waiting); err != nil {
		return err
	}
	columns := []*measured{
		{name: "direct API", byStage: map[string]benchmark.Samples{}},
		{name: "warm CLI", byStage: map[string]benchmark.Samples{}},
	}
	backends := []string{"direct", "cli"}
	if cli == noCLI {
		columns, backends = columns[:1], backends[:1]
	}
	var cold benchmark.Samples
	progress(fmt.Sprintf("sending %d prompts each way", c.Requests))
	for i := range c.Requests + 1 {
		for j, backend := range backends {
			reply, err := service.Chat(ctx, backend, benchmark.Prompt(""))
			if err == nil && reply.Status != 200 {
				err = fmt.Errorf("%s: status %d: %.300s", backend, reply.Status, reply.Body)
			}
			if err != nil {
				return err
			}
			if i > 0 { // the first opens connections
				columns[j].add(reply)
			}
		}
	}
	if cli != noCLI {
		progress(fmt.Sprintf("the old way: %d times a new process from a shell", c.Cold))
		for range c.Cold {
			took, err := benchmark.Cold(ctx, cli, upstream, benchmark.Prompt(""))
			if err != nil {
				return err
			}
			cold = append(cold, took)
		}
	}
	printTable(columns, cold)
	return nil
}

func printTable(columns []*measured, cold benchmark.Samples) {
	printf("\nOne prompt, medians in ms; the imitated model answers at once, so this is what each way adds.\n\n  %-26s", "")
	if len(cold) > 0 {
		printf(" %16s", "new process")
	}
	for i := len(columns) - 1; i >= 0; i-- {
		printf(" %12s", columns[i].name)
	}
	printf("\n")
	for _, stage := range stageNames {
		printf("  %-26s", stage)
		if len(cold) > 0 {
			printf(" %16s", "")
		}
		for i := len(columns) - 1; i >= 0; i-- {
			if samples := columns[i].byStage[stage]; len(samples) > 0 {
				printf(" %12.3f", milliseconds(samples.Median()))
			} else {
				printf(" %12s", "–")
			}
		}
		printf("\n")
	}
	printf("  %-26s", "as the client sees it")
	if len(cold) > 0 {
		printf(" %16.1f", milliseconds(cold.Median()))
	}
	for i := len(columns) - 1; i >= 0; i-- {
		printf(" %12.3f", milliseconds(columns[i].client.Median()))
	}
	printf("\n")
	if len(cold) > 0 {
		warm := columns[len(columns)-1].client.Median()
		printf("\n  The warm path is %.0f times faster than a new process for each request.\n", float64(cold.Median())/float64(warm))
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// invite prints a call to paste, and where to look.
func (c *demoCommand) invite(url, key, admin string) {
	printf(`
The service is up at %s, with keys of this demo.
See it at %s/dashboard, signed in with %s
Try it:

  curl -sN %s/v1/chat/completions \
    -H "Authorization: Bearer %s" \
    -d '{"model":"haiku","stream":true,"messages":[{"role":"user","content":"Hello!"}]}'

`, url, url, admin, url, key)
	if !c.Once {
		printf("Ctrl-C ends it and removes its data.\n")
	}
}
