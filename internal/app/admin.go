package app

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/adminapi"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/dashboard"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/httpserver"
	"claude-code-api-service/internal/monitor"
	"claude-code-api-service/internal/route"
)

// sampleEvery is how often the database is asked for what /metrics and the dashboard tell
// of it: so neither asks by itself.
const sampleEvery = 5 * time.Second

// sampleTimeout bounds one look.
const sampleTimeout = 2 * time.Second

// seen is what those who administer the service see.
type seen struct {
	monitor *monitor.Monitor
	started time.Time
	// queued and running are jobs of all nodes, and nodes those that live.
	queued, running atomic.Int64
	nodes           atomic.Pointer[[]adminapi.Node]
	// read reads the configuration again; nil: nothing can.
	read atomic.Pointer[func() (*config.Config, error)]
}

// makeMonitor makes what knows the requests that run and ran; next hears of them too.
func (a *App) makeMonitor(next gateway.Observer) {
	a.seen.monitor = monitor.New(monitor.Options{Next: next})
	a.seen.started = time.Now()
}

// watchState looks into the database from time to time, until the service ends.
func (a *App) watchState() {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		a.sample()
		select {
		case <-a.life.Done():
			return
		case <-ticker.C:
		}
	}
}

// sample looks once. What can't be seen stays as it was: /health tells of a database that
// is away.
func (a *App) sample() {
	ctx, cancel := context.WithTimeout(a.life, sampleTimeout)
	defer cancel()
	if queued, running, err := a.jobs.Count(ctx); err == nil {
		a.seen.queued.Store(queued)
		a.seen.running.Store(running)
	}
	if members, err := a.member.Nodes(ctx); err == nil {
		nodes := make([]adminapi.Node, 0, len(members))
		for _, m := range members {
			nodes = append(nodes, adminapi.Node{ID: m.ID, AliveAt: m.Alive.UTC()})
		}
		a.seen.nodes.Store(&nodes)
	}
}

// registerJobs makes the metrics of what waits and runs beyond requests.
func (a *App) registerJobs(registry prometheus.Registerer) {
	gauge := func(name, help string, value func() int64) {
		registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) },
		))
	}
	gauge("claude_api_queued_jobs", "Jobs of all nodes of the database that wait, as of some seconds ago.", a.seen.queued.Load)
	gauge("claude_api_task_approvals_waiting", "Questions of tasks on this node that nobody has answered yet.", a.desk.Waiting)
}

// adminOptions are for the endpoints of those who administer the service.
func (a *App) adminOptions(n *generation) adminapi.Options {
	options := adminapi.Options{
		Authenticator: a.authenticator, Keys: a.keys, Audit: a.store, Observer: a.lasting.refusals, Archive: a.archive, Sessions: n.config.Dashboard, Off: a.dashboardOff, Log: a.log,
		Monitor: a.seen.monitor, State: a.state, ResidentBytes: func() int64 { return claudecli.ResidentBytes(os.Getpid()) }, Reload: a.reread,
		Rooms: a.adminRooms(n),
	}
	if a.pool != nil {
		options.Workers, options.Kill = a.workers, a.kill
	}
	return options
}

// dashboardOff says that the configuration of now has no dashboard.
func (a *App) dashboardOff() bool {
	n := a.now()
	return n != nil && !n.config.Dashboard
}

// addAdmin adds to a generation the endpoints of those who administer the service, and
// the page for their browsers.
func (a *App) addAdmin(n *generation) (family, error) {
	if former := a.now(); former != nil {
		n.admin = former.admin.With(a.adminOptions(n))
	} else {
		n.admin = adminapi.New(a.adminOptions(n))
	}
	if !n.config.Dashboard {
		return n.admin, nil
	}
	page, err := dashboard.New()
	if err != nil {
		return nil, err
	}
	n.register = append(n.register, page.Register)
	n.links = map[string]string{"dashboard": dashboard.Root}
	return n.admin, nil
}

// state is what the service knows of itself, from memory.
func (a *App) state() adminapi.State {
	s := adminapi.State{
		Version: Version, Uptime: adminapi.Seconds(time.Since(a.seen.started)), Node: a.member.ID(), Nodes: []adminapi.Node{},
		Parts: map[string]adminapi.Service{}, Breakers: []adminapi.Breaker{},
		QueuedJobs: a.seen.queued.Load(), RunningJobs: a.seen.running.Load(), WaitingApprovals: a.desk.Waiting(),
	}
	if nodes := a.seen.nodes.Load(); nodes != nil {
		s.Nodes = *nodes
	}
	s.Ready.Ready, s.Ready.Reason = a.ready()
	services := a.services()
	s.Status = httpserver.Overall(services)
	for name, service := range services {
		s.Parts[name] = adminapi.Service{Status: service.Status, Detail: service.Detail}
	}
	if a.pool != nil {
		p := a.pool.Status()
		least, most := a.pool.Limits()
		s.Pool = &adminapi.Pool{
			Mode: p.Mode, Idle: p.Idle, Held: p.Held, Parked: p.Parked, Busy: p.Busy, Starting: p.Starting, Queued: p.Queued, Max: most, Min: least, Reason: p.Reason,
		}
	}
	for _, backend := range []string{gateway.BackendCLI, gateway.BackendDirect} {
		if _, exists := a.lasting.backends[backend]; exists {
			s.Breakers = append(s.Breakers, breakersOf(a.breakers, backend)...)
		}
	}
	return s
}

func breakersOf(all *route.Breakers, backend string) (list []adminapi.Breaker) {
	names := map[route.State]string{route.Closed: adminapi.BreakerClosed, route.HalfOpen: adminapi.BreakerHalfOpen, route.Open: adminapi.BreakerOpen}
	for _, standing := range all.Of(backend) {
		b := adminapi.Breaker{Backend: backend, Family: standing.Family, State: names[standing.State], Failures: standing.Failures}
		if standing.Wait > 0 {
			until := time.Now().Add(standing.Wait).UTC()
			b.Until = &until
		}
		list = append(list, b)
	}
	return list
}

// workers are those of the CLI, one by one.
func (a *App) workers() adminapi.Workers {
	var all adminapi.Workers
	all.Min, all.Max = a.pool.Limits()
	for _, w := range a.pool.Workers() {
		all.Workers = append(all.Workers, adminapi.Worker{
			ID: w.ID, PID: w.PID, State: string(w.State), Age: adminapi.Seconds(w.Age), Turns: w.Turns, ResidentBytes: w.ResidentBytes,
			ProjectID: w.ProjectID, Model: w.Model, RequestID: w.RequestID, Idle: adminapi.Seconds(w.Idle),
		})
	}
	return all
}

func (a *App) kill(id string) error {
	switch err := a.pool.Kill(id); {
	case errors.Is(err, clipool.ErrNoWorker):
		return adminapi.ErrNoWorker
	case errors.Is(err, clipool.ErrStillStarting):
		return adminapi.ErrStarting
	default:
		return err
	}
}

// reread reads the configuration again, as SIGHUP does, and says what came of it.
func (a *App) reread(ctx context.Context) (adminapi.Reload, error) {
	read := a.seen.read.Load()
	if read == nil {
		return adminapi.Reload{}, adminapi.ErrNothingToRead
	}
	former := a.now().config
	c, err := (*read)()
	if err == nil {
		err = a.Reload(ctx, c)
	}
	if err != nil {
		a.log.ErrorContext(ctx, "the configuration can't be used: the former one stays", "error", err)
		return adminapi.Reload{}, err
	}
	return adminapi.Reload{Changed: c.Changed(former), NeedStart: c.NeedStart(a.config)}, nil
}
