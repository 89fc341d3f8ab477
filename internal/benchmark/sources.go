package benchmark

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// FormerTotal is what the replaced service added to a request on average, by the
// analysis that its authors published, in milliseconds.
const FormerTotal = 5_500.0

// SourcesOptions say how long to measure.
type SourcesOptions struct {
	StandOptions
	Rounds   int // in each of which every source is measured both ways
	Progress func(text string)
	Round    func(done int) // called as rounds end
}

// Source is one thing that made the replaced service slow, measured as it was there
// and as it is here.
type Source struct {
	Name   string  `json:"name"`
	Former string  `json:"former,omitempty"` // what the published analysis says of it; "": nothing
	Before Figures `json:"before"`
	After  Figures `json:"after"`
	How    string  `json:"how"`
	// Simulated: before isn't the replaced program, but its waits or statements, done
	// again here.
	Simulated bool `json:"simulated"`
	// Alone: a single request has it too. The others come with requests beside it.
	Alone bool `json:"alone"`
}

// Saved is the difference of the medians in milliseconds.
func (s *Source) Saved() float64 { return s.Before.P50 - s.After.P50 }

// Way is one way to answer the same prompt.
type Way struct {
	Name string  `json:"name"`
	Took Figures `json:"took"`
	// Bind is how much of it was setting model and system prompt; nil where nothing is
	// set.
	Bind *Figures `json:"bind,omitempty"`
	What string   `json:"what"`
}

// Sources is what the sources of latency showed.
type Sources struct {
	Sources []Source `json:"sources"`
	Ways    []Way    `json:"ways"`
	// Before is the sum of what a single request had to wait for in the former way,
	// After the whole of a request on a warm worker, Direct on the direct path.
	Before float64 `json:"before_ms"`
	After  float64 `json:"after_ms"`
	Direct float64 `json:"direct_ms"`
	Former float64 `json:"former_ms"`
}

// The names of sources and ways, also in the history.
const (
	sourceProcess  = "a process for each request"
	sourcePolling  = "looking for the result"
	sourceBlocking = "one request at a time"
	sourceDatabase = "a connection for each query"
	sourcePrompt   = "the prompt in a file"
	sourceCLI      = "the CLI where it isn't needed"

	// WayCold, WayWarm and WayDirect are those that the history compares.
	WayCold    = "cold: a new process"
	wayParked  = "parked: a process's first turn"
	WayWarm    = "warm: a worker used before"
	wayRebound = "warm, to be set anew"
	WayDirect  = "direct: without the CLI"
	wayAPI     = "the imitated API alone"
)

// How much of each is measured in a round.
const (
	blockingCallers = 4
	blockingCall    = 200 * time.Millisecond
	turnsInARound   = 4
	bindsInARound   = 2
	pollsInARound   = 2
	// pollSpread is over how much time the ends of calls are spread, so that they meet
	// the loop at any moment of its cycle.
	pollSpread = formerQueueWait + formerLoopPause
)

// sourcesRun holds what a run gathers.
type sourcesRun struct {
	o        SourcesOptions
	stand    *Stand
	loop     *formerLoop
	database *formerDatabase
	polls    int

	cold, parked, warm, rebound, bind, direct, upstream Samples
	polled, pushed                                      Samples
	alone, together                                     Samples
	connections, walk                                   Samples
	file                                                Samples
}

// RunSources measures each source of latency both ways, interleaved: every round
// measures everything once. Everything stays on loopback.
func RunSources(ctx context.Context, o SourcesOptions) (_ *Sources, err error) {
	o.Workers = blockingCallers
	o.Progress(fmt.Sprintf("starting the service with %d workers, and an imitation of the Anthropic API", o.Workers))
	r := &sourcesRun{o: o}
	if r.stand, err = NewStand(ctx, o.StandOptions); err != nil {
		return nil, err
	}
	defer r.stand.Close()
	if r.database, err = newFormerDatabase(ctx, r.stand.folder); err != nil {
		return nil, err
	}
	r.loop = newFormerLoop()
	defer r.loop.close()
	if err := r.warmUp(ctx); err != nil {
		return nil, err
	}
	for i := range o.Rounds {
		o.Round(i)
		for _, measure := range []func(ctx context.Context) error{r.ways, r.polling, r.blocking, r.former} {
			if err := measure(ctx); err != nil {
				return nil, err
			}
		}
	}
	return r.sum(), nil
}

// warmUp uses every worker and opens connections; nothing of it is counted.
func (r *sourcesRun) warmUp(ctx context.Context) error {
	_, err := r.callers(ctx, func() error { return r.call(ctx, "cli", "[[delay=100ms]]", nil) })
	for range turnsInARound {
		if err == nil {
			err = r.call(ctx, "direct", "", nil)
		}
	}
	return err
}

// call asks the service one thing and keeps how long that took, and what of it was
// the database's.
func (r *sourcesRun) call(ctx context.Context, backend, directive string, to *Samples) error {
	reply, err := r.stand.Service.Chat(ctx, backend, Prompt(directive))
	took, err := must(reply, err)
	if err != nil {
		return err
	}
	if to != nil {
		*to = append(*to, took)
		r.walk = append(r.walk, reply.Stages["auth"]+reply.Stages["admit"]+reply.Stages["record"])
	}
	return nil
}

// ways answers the same kind of prompt in every way.
func (r *sourcesRun) ways(ctx context.Context) error {
	cold, err := Cold(ctx, r.o.CLI, r.stand.Upstream, Prompt(""))
	if err != nil {
		return err
	}
	r.cold = append(r.cold, cold)
	if err := r.parkedTurn(ctx); err != nil {
		return err
	}
	client, key := r.stand.Service.client, "sk-simulator"
	for range turnsInARound {
		if err := r.call(ctx, "cli", "", &r.warm); err != nil {
			return err
		}
		if err := r.call(ctx, "direct", "", &r.direct); err != nil {
			return err
		}
		took, err := message(ctx, client, r.stand.Upstream, messagesHeader(key))
		if err != nil {
			return err
		}
		r.upstream = append(r.upstream, took)
	}
	for range bindsInARound {
		// No worker was ever set so.
		reply, err := r.stand.Service.ask(ctx, "cli", maxTokens+1+len(r.rebound), Prompt(""))
		took, err := must(reply, err)
		if err != nil {
			return err
		}
		r.rebound, r.bind = append(r.rebound, took), append(r.bind, reply.Stages["bind"])
	}
	return nil
}

// parkedTurn is the first turn of a process that was started before it was needed.
func (r *sourcesRun) parkedTurn(ctx context.Context) error {
	process, err := StartBare(ctx, r.o.CLI, r.stand.Upstream)
	if err != nil {
		return err
	}
	defer process.Close()
	took, err := process.prompt(Prompt(""))
	r.parked = append(r.parked, took)
	return err
}

// polling has calls that end at any moment found by the former loop, and by a
// channel.
func (r *sourcesRun) polling(ctx context.Context) error {
	for range pollsInARound {
		directive := fmt.Sprintf("[[delay=%dms]]", spread(r.polls, pollSpread).Milliseconds())
		r.polls++
		late := func(wait func(run func() error) error) (time.Duration, error) {
			var own time.Duration
			started := time.Now()
			err := wait(func() error {
				started := time.Now()
				err := r.call(ctx, "direct", directive, nil)
				own = time.Since(started)
				return err
			})
			return time.Since(started) - own, err
		}
		polled, err := late(func(run func() error) error { return r.loop.do(ctx, run) })
		if err != nil {
			return err
		}
		pushed, err := late(func(run func() error) error {
			done := make(chan error, 1)
			go func() { done <- run() }()
			return <-done
		})
		if err != nil {
			return err
		}
		r.polled, r.pushed = append(r.polled, polled), append(r.pushed, pushed)
	}
	return nil
}

// spread gives the i-th of moments that fill a time evenly, however many there are:
// the bits of i in reverse.
func spread(i int, over time.Duration) time.Duration {
	at, half := 0.0, 0.5
	for ; i > 0; i >>= 1 {
		at += float64(i&1) * half
		half /= 2
	}
	return time.Duration(at * float64(over))
}

// blocking has callers at once wait for each other, and not.
func (r *sourcesRun) blocking(ctx context.Context) error {
	directive := "[[delay=" + blockingCall.String() + "]]"
	var one sync.Mutex
	alone, err := r.callers(ctx, func() error {
		one.Lock()
		defer one.Unlock()
		return r.call(ctx, "cli", directive, nil)
	})
	if err != nil {
		return err
	}
	together, err := r.callers(ctx, func() error { return r.call(ctx, "cli", directive, nil) })
	r.alone, r.together = append(r.alone, alone...), append(r.together, together...)
	return err
}

// callers has as many callers as workers do something at once, and gives how long
// each waited.
func (r *sourcesRun) callers(ctx context.Context, do func() error) (Samples, error) {
	took, errs := make(Samples, blockingCallers), make([]error, blockingCallers)
	var all sync.WaitGroup
	started := time.Now()
	for i := range blockingCallers {
		all.Go(func() {
			errs[i] = do()
			took[i] = time.Since(started)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return took, ctx.Err()
}

// former is what the replaced service did on its disk.
func (r *sourcesRun) former(ctx context.Context) error {
	for range turnsInARound {
		took, err := r.database.walk(ctx)
		if err != nil {
			return err
		}
		r.connections = append(r.connections, took)
		if took, err = formerPrompt(r.stand.folder, Prompt("")); err != nil {
			return err
		}
		r.file = append(r.file, took)
	}
	return nil
}

func (r *sourcesRun) sum() *Sources {
	bind := r.bind.Figures()
	s := &Sources{
		Sources: []Source{
			{
				Name: sourceProcess, Former: "3,000–8,000 ms", Before: r.cold.Figures(), After: r.warm.Figures(), Alone: true,
				How: "the real CLI: a shell starts one that reads its prompt from a file; a whole request through the service on a worker that it keeps",
			},
			{
				Name: sourcePolling, Former: "0–600 ms", Before: r.polled.Figures(), After: r.pushed.Figures(), Simulated: true, Alone: true,
				How: "how much later than the answer its caller hears of it: a loop with the former one's waits; a channel",
			},
			{
				Name: sourceBlocking, Former: "0–5,000 ms", Before: r.alone.Figures(), After: r.together.Figures(), Simulated: true,
				How: fmt.Sprintf("%d callers at once, answers of %v: one after the other; on %d workers", blockingCallers, blockingCall, blockingCallers),
			},
			{
				Name: sourceDatabase, Former: "about 5 ms", Before: r.connections.Figures(), After: r.walk.Figures(), Simulated: true, Alone: true,
				How: "SQLite: four connections, two commits, as the former one asked; the service's own stages auth, admit and record",
			},
			{
				Name: sourcePrompt, Former: "under 1 ms", Before: r.file.Figures(), Simulated: true, Alone: true,
				How: "a folder and a file, made and removed; the prompt goes through a pipe",
			},
			{
				Name: sourceCLI, Before: r.warm.Figures(), After: r.direct.Figures(),
				How: "a whole request through the service: on a warm worker; on the direct path",
			},
		},
		Ways: []Way{
			{Name: WayCold, Took: r.cold.Figures(), What: "as the former service did it"},
			{Name: wayParked, Took: r.parked.Figures(), What: "started before it was needed, never used; without the service"},
			{Name: wayRebound, Took: r.rebound.Figures(), Bind: &bind, What: "through the service; the worker was set otherwise before"},
			{Name: WayWarm, Took: r.warm.Figures(), What: "through the service; nothing to set"},
			{Name: WayDirect, Took: r.direct.Figures(), What: "through the service"},
			{Name: wayAPI, Took: r.upstream.Figures(), What: "what every way ends in here: it answers at once"},
		},
		After: r.warm.Figures().P50, Direct: r.direct.Figures().P50, Former: FormerTotal,
	}
	for i := range s.Sources {
		if s.Sources[i].Alone {
			s.Before += s.Sources[i].Before.P50
		}
	}
	return s
}

// way gives a way's median, 0 where it wasn't measured.
func (s *Sources) way(name string) float64 {
	for _, w := range s.Ways {
		if w.Name == name {
			return w.Took.P50
		}
	}
	return 0
}

// Honest says what the figures are and what they aren't.
func (s *Sources) Honest() string {
	var simulated []string
	for _, source := range s.Sources {
		if source.Simulated {
			simulated = append(simulated, source.Name)
		}
	}
	return strings.Join([]string{
		"The CLI and the service are real; the model is an imitation on loopback that answers at once, so a model's own time is in no figure.",
		"Before is simulated, with the waits and statements of the former service's source, for: " + strings.Join(simulated, ", ") + ".",
		"The former service's 5,500 ms, and the column \"published\", are what its authors published. What is missing here to get there: its CLI read settings and started " +
			"MCP servers with every process, and each one opened a connection to the API over the internet.",
	}, "\n")
}
