package benchmark

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// CLIOptions say how long to measure the CLI path.
type CLIOptions struct {
	StandOptions
	Turns    int           // warm turns on each side
	Cold     int           // processes per request
	Duration time.Duration // of each throughput measurement
	Progress func(text string)
}

// CLIResult is what the CLI path showed.
type CLIResult struct {
	Warm, Bare, Cold  Samples
	WarmPerSecond     float64
	ColdPerSecond     float64
	FourTogether      time.Duration // four calls of one second on four workers
	Health            Samples       // /health while everything is busy
	HealthAlone       Samples
	InFlight, Refused int // during Health
}

// RunCLI measures the CLI path against a bare warm process and a process per
// request, interleaved.
func RunCLI(ctx context.Context, o CLIOptions) (*CLIResult, error) {
	o.Workers = 4
	o.Progress("starting the service with 4 workers, and a bare process")
	stand, err := NewStand(ctx, o.StandOptions)
	if err != nil {
		return nil, err
	}
	defer stand.Close()
	bare, err := StartBare(ctx, o.CLI, stand.Upstream)
	if err != nil {
		return nil, err
	}
	defer bare.Close()
	r := &CLIResult{}
	for _, step := range []struct {
		text string
		run  func() error
	}{
		{fmt.Sprintf("%d turns on each side, %d processes per request, in turn", o.Turns, o.Cold), func() error { return r.latencies(ctx, o, stand, bare) }},
		{"four calls of one second at once", func() error { return r.fourTogether(ctx, stand) }},
		{fmt.Sprintf("%v of 8 callers on 4 workers", o.Duration), func() error { return r.warmThroughput(ctx, o, stand) }},
		{fmt.Sprintf("%v of 4 callers with a process per request", o.Duration), func() error { return r.coldThroughput(ctx, o, stand) }},
		{"/health with 64 slow requests in flight and the queue full", func() error { return r.health(ctx, stand) }},
	} {
		o.Progress(step.text)
		if err := step.run(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// warmUp is how many turns of each side aren't counted.
const warmUp = 10

func (r *CLIResult) latencies(ctx context.Context, o CLIOptions, stand *Stand, bare *Bare) error {
	every := max(1, o.Turns/max(1, o.Cold))
	for i := range o.Turns + warmUp {
		warm, err := must(stand.Service.Chat(ctx, "cli", Prompt("")))
		if err != nil {
			return err
		}
		least, err := bare.Turn(Prompt(""))
		if err != nil {
			return err
		}
		if i < warmUp {
			continue
		}
		r.Warm, r.Bare = append(r.Warm, warm), append(r.Bare, least)
		if i%every == 0 && len(r.Cold) < o.Cold {
			cold, err := Cold(ctx, o.CLI, stand.Upstream, Prompt(""))
			if err != nil {
				return err
			}
			r.Cold = append(r.Cold, cold)
		}
	}
	return nil
}

func (r *CLIResult) fourTogether(ctx context.Context, stand *Stand) error {
	var wg sync.WaitGroup
	errs := make([]error, 4)
	started := time.Now()
	for i := range errs {
		wg.Go(func() { _, errs[i] = must(stand.Service.Chat(ctx, "cli", Prompt("[[delay=1s]]"))) })
	}
	wg.Wait()
	r.FourTogether = time.Since(started)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *CLIResult) warmThroughput(ctx context.Context, o CLIOptions, stand *Stand) error {
	done, took, err := together(ctx, 8, o.Duration, func(ctx context.Context) error {
		_, err := must(stand.Service.Chat(ctx, "cli", Prompt("")))
		return err
	})
	r.WarmPerSecond = float64(done) / took.Seconds()
	return err
}

func (r *CLIResult) coldThroughput(ctx context.Context, o CLIOptions, stand *Stand) error {
	done, took, err := together(ctx, 4, o.Duration, func(ctx context.Context) error {
		_, err := Cold(ctx, o.CLI, stand.Upstream, Prompt(""))
		return err
	})
	r.ColdPerSecond = float64(done) / took.Seconds()
	return err
}

// slowInFlight is how many slow direct calls run while /health is measured; the
// CLI path's workers and queue are filled beside them.
const (
	slowInFlight  = 64
	healthSamples = 1_000
)

func (r *CLIResult) health(ctx context.Context, stand *Stand) error {
	sample := func(to *Samples) error {
		for range healthSamples {
			took, err := must(stand.Service.Get(ctx, "/health"))
			if err != nil {
				return err
			}
			*to = append(*to, took)
		}
		return nil
	}
	if err := sample(&r.HealthAlone); err != nil {
		return err
	}
	slow, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	refused := make(chan int, 2*slowInFlight)
	for i := range 2 * slowInFlight {
		backend := []string{"cli", "direct"}[i%2]
		wg.Go(func() {
			reply, err := stand.Service.Chat(slow, backend, Prompt("[[delay=10m]]"))
			if err == nil {
				refused <- reply.Status
			}
		})
	}
	// Everything is in flight once as many of the CLI's 64 were refused as its 4
	// workers and 40 places in the queue leave over.
	for r.Refused < slowInFlight-4-40 {
		select {
		case <-refused:
			r.Refused++
		case <-ctx.Done():
			cancel()
			return ctx.Err()
		}
	}
	r.InFlight = 2*slowInFlight - r.Refused
	err := sample(&r.Health)
	cancel()
	wg.Wait()
	return err
}

// Print writes the result as a table.
func (r *CLIResult) Print(w io.Writer) {
	row := func(name string, s Samples) {
		fmt.Fprintf(w, "  %-34s %10s %10s %10s %6d\n", name, ms(s.Median()), ms(s.Quantile(0.95)), ms(s.Quantile(0.99)), len(s))
	}
	fmt.Fprintf(w, "\nCLI path (upstream answering at once)\n  %-34s %10s %10s %10s %6s\n", "", "p50", "p95", "p99", "n")
	row("service, warm workers", r.Warm)
	row("bare warm process (the limit)", r.Bare)
	row("process per request (the old way)", r.Cold)
	fmt.Fprintf(w, "  service above bare at p50          %10s   (at most 2 ms)\n", ms(r.Warm.Median()-r.Bare.Median()))
	fmt.Fprintf(w, "  cold / service at p50              %9.1fx   (at least 15x)\n", ratio(r.Cold.Median(), r.Warm.Median()))
	fmt.Fprintf(w, "  sustained, 4 workers               %7.1f /s   (at least 30)\n", r.WarmPerSecond)
	fmt.Fprintf(w, "  sustained, process per request     %7.1f /s\n", r.ColdPerSecond)
	fmt.Fprintf(w, "  4 calls of 1 s on 4 workers        %10s   (under 1.3 s)\n", ms(r.FourTogether))
	row("/health, idle", r.HealthAlone)
	row(fmt.Sprintf("/health, %d in flight, queue full", r.InFlight), r.Health)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }
