// Package top shows a running service in a terminal: what it does now, its requests with
// their stages, its workers, how long things take, and its tasks.
package top

import (
	"context"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"claude-code-api-service/client"
)

// Service is what is shown: a client.Admin.
type Service interface {
	Overview(ctx context.Context) (*client.Overview, error)
	Requests(ctx context.Context, limit int) (*client.Requests, error)
	Workers(ctx context.Context) (*client.Workers, error)
	Latency(ctx context.Context, window time.Duration) (*client.Latency, error)
	Tasks(ctx context.Context, filter client.TaskFilter) (*client.TaskPage, error)
	EndWorker(ctx context.Context, id string) error
}

// Options are what a view needs. Service, In and Out are required.
type Options struct {
	Service Service
	Address string // of the service, for people
	// Every is how often it is asked; 0 is DefaultEvery.
	Every time.Duration
	In    io.Reader
	Out   io.Writer
	// Plain leaves out all colours.
	Plain bool
}

// DefaultEvery is how often a service is asked.
const DefaultEvery = time.Second

// askFor bounds the wait for one answer.
const askFor = 10 * time.Second

// Run shows the service in a terminal until its user leaves or ctx ends, which is no
// error.
func Run(ctx context.Context, options Options) error {
	if options.Every <= 0 {
		options.Every = DefaultEvery
	}
	program := tea.NewProgram(newModel(ctx, options), tea.WithInput(options.In), tea.WithOutput(options.Out), tea.WithoutSignalHandler())
	// Leaving as its user would: a program whose own context ends closes its input while
	// that is still read.
	defer context.AfterFunc(ctx, program.Quit)()
	_, err := program.Run()
	return err
}

// Line prints what the service does now in one line, count times, for those who have no
// terminal. It ends with ctx's error when that ends first.
func Line(ctx context.Context, options Options, count int) error {
	if options.Every <= 0 {
		options.Every = DefaultEvery
	}
	tick := time.NewTicker(options.Every)
	defer tick.Stop()
	for n := range count {
		if n > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		overview, err := ask(ctx, options.Service.Overview)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(options.Out, summary(overview)); err != nil {
			return err
		}
	}
	return nil
}

func ask[T any](ctx context.Context, question func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	return question(ctx)
}

// summary is a service in one line.
func summary(o *client.Overview) string {
	state := o.Status
	if !o.Ready.Ready {
		state = "not ready: " + o.Ready.Reason
	}
	line := fmt.Sprintf("%s  %.1f requests/s  %.1f%% errors  %.0f tokens/s  %d running", state, o.Rates.Requests, 100*o.Rates.ErrorRatio, o.Rates.Tokens, o.Live)
	if p := o.Pool; p != nil {
		line += fmt.Sprintf("  workers %d busy %d idle %d waiting", p.Busy, p.Idle, p.Queued)
	}
	line += fmt.Sprintf("  tasks %d running %d queued", o.RunningJobs, o.QueuedJobs)
	if o.WaitingApprovals > 0 {
		line += fmt.Sprintf(" %d asking", o.WaitingApprovals)
	}
	return safe(line)
}
