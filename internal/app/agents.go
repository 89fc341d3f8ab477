package app

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/httpserver"
)

// makeAgents makes what runs agentic work. There is none without a CLI, and none with
// --max-tasks 0.
func (a *App) makeAgents() error {
	c := a.config
	if a.pool == nil || c.MaxTasks == 0 {
		return nil
	}
	folder, err := absolute(filepath.Join(c.DataDir, "agents"))
	if err != nil {
		return err
	}
	process := a.pool.Process()
	a.agents = agent.New(agent.Options{
		Folder: folder, Process: process, Home: process.Home, Login: a.direct == nil && process.Home != "",
		Meter: a.meter, Catalogue: a.capabilities, MCPConfig: c.MCPConfig,
		Max: c.MaxTasks, Spares: c.TaskSpares, ArtifactBytes: c.ArtifactBytes,
		Memory: clipool.FreeMemory, Logger: a.log,
	})
	a.later(func(context.Context) error { a.agents.Close(); return nil })
	a.registerAgents(a.instruments.Registerer())
	return nil
}

// startAgents tells what runs agentic work that the CLI was probed.
func (a *App) startAgents() {
	if a.agents != nil {
		a.agents.Start()
	}
}

// failAgents tells it that the CLI can't be used.
func (a *App) failAgents(err error) {
	if a.agents != nil {
		a.agents.Fail(err)
	}
}

// agentsService is what /health tells of it. It reads gauges only.
func (a *App) agentsService() httpserver.Service {
	if a.agents == nil {
		return httpserver.Service{Status: httpserver.StatusOff, Detail: "no CLI is configured or found, or --max-tasks is 0"}
	}
	s := a.agents.Status()
	service := httpserver.Service{Status: httpserver.StatusOK}
	if s.Reason != "" {
		service.Status = httpserver.StatusDegraded
		service.Detail = s.Reason + "; "
	}
	service.Detail += fmt.Sprintf("%d running, %d idle, %d spare, %d starting, %d queued", s.Running, s.Idle, s.Spares, s.Starting, s.Queued)
	return service
}

func (a *App) registerAgents(registry prometheus.Registerer) {
	gauge := func(name, help string, labels prometheus.Labels, value func(agent.Status) int64) {
		registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(a.agents.Status())) },
		))
	}
	for state, value := range map[string]func(agent.Status) int64{
		"running":  func(s agent.Status) int64 { return s.Running },
		"idle":     func(s agent.Status) int64 { return s.Idle },
		"spare":    func(s agent.Status) int64 { return s.Spares },
		"starting": func(s agent.Status) int64 { return s.Starting },
	} {
		gauge("claude_api_agents", "CLI processes of tasks and sessions by state.", prometheus.Labels{"state": state}, value)
	}
	gauge("claude_api_agents_queue_length", "Tasks and turns of sessions that wait to run.", nil, func(s agent.Status) int64 { return s.Queued })
}
