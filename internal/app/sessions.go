package app

import (
	"context"
	"path/filepath"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/route"
	"claude-code-api-service/internal/session"
	"claude-code-api-service/internal/sessionapi"
)

// processesPerTask is how many sessions may have a process at rest for each task that
// may run at once.
const processesPerTask = 4

// makeSessions makes the conversations that are kept. There are none where no agentic
// work is done.
func (a *App) makeSessions() error {
	if a.agents == nil {
		return nil
	}
	c := a.config
	folder, err := absolute(filepath.Join(c.DataDir, "agents"))
	if err != nil {
		return err
	}
	a.sessions = session.New(session.Options{
		Processes: session.Agents(a.agents), Archive: a.archive, Claims: a.member, Folder: folder,
		Resolve: a.sessionModel, Known: a.known,
		Directory: func(caller *gateway.Caller, path string) (string, error) {
			return a.now().gateway.Directory(caller, path)
		},
		Idle: c.SessionIdle.Duration(), TTL: c.SessionTTL.Duration(), MaxProcesses: processesPerTask * c.MaxTasks, Log: a.log,
	})
	a.later(func(context.Context) error { a.sessions.Close(); return nil })
	return nil
}

// known gives the names of the agents and skills that there are.
func (a *App) known(directory string) (agents, skills []string) {
	for _, found := range a.capabilities.Agents(directory) {
		agents = append(agents, found.Name)
	}
	for _, found := range a.capabilities.Skills(directory) {
		skills = append(skills, found.Name)
	}
	return agents, skills
}

// sessionModel finds a model as the router does: an alias, a full id, or a name that
// the operator configured.
func (a *App) sessionModel(name string) (string, bool) {
	n := a.now()
	known := resolve(n.catalogue)
	if id, ok := known(name); ok {
		return id, true
	}
	if mapped, ok := n.config.ModelMap[name]; ok {
		if id, ok := known(mapped); ok {
			return id, true
		}
		name = mapped
	}
	return name, route.FullID(name)
}

// sweepSessions removes what expired sessions have left on this machine.
func (a *App) sweepSessions() {
	if a.sessions != nil {
		a.background.Go(func() { a.sessions.Sweep(a.life) })
	}
}

func (a *App) sessionsAPI(n *generation, g *gateway.Gateway) *sessionapi.Handler {
	options := sessionapi.Options{Gateway: g, MaxBody: n.config.MaxBodyBytes, Log: a.log}
	if a.sessions != nil {
		options.Sessions = a.sessions
	}
	return sessionapi.New(options)
}
