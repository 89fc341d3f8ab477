package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/benchmark"
	"claude-code-api-service/internal/claudecli/install"
)

// benchSourcesCommand is what bench alone does.
type benchSourcesCommand struct {
	ClaudePath string `help:"The Claude Code CLI's binary; empty: one that is found, else the pinned version from npm." env:"CLAUDE_API_CLAUDE_PATH"`
	Rounds     int    `help:"Rounds; each measures everything once. 0: 10 for the sources of latency, 20 for --url and --against." default:"0"`
	Quick      bool   `help:"Few rounds: 3, and 5 for --url and --against."`
	SVG        string `name:"svg" help:"Write a chart of the sources of latency to this file." type:"path"`
	DataDir    string `help:"Folder for the service's data, in which the history is kept." default:"${data_dir}" env:"CLAUDE_API_DATA_DIR"`
	listOutput

	URL            string `name:"url" help:"Measure the service that runs there, instead of the sources of latency. It is really asked, and so is its upstream." group:"compare"`
	KeyFile        string `help:"File with its key; without it, CLAUDE_API_KEY holds the key." group:"compare"`
	Against        string `help:"Compare with the service there, in turn: one of these, or any with the OpenAI or the Anthropic API. Without --url, this one is started with an imitated upstream." group:"compare"`
	AgainstKeyFile string `help:"File with the key for it; without it, CLAUDE_API_AGAINST_KEY holds the key." group:"compare"`
	Shape          string `help:"How they are asked: openai or anthropic." enum:"openai,anthropic" default:"openai" group:"compare"`
	Model          string `help:"The model that is asked for." default:"haiku" group:"compare"`
	AgainstModel   string `help:"The model that the other one is asked for; empty: the same." group:"compare"`
	Backend        string `help:"The backend that is asked for: cli, direct, or empty for the service's choice." enum:"cli,direct," default:"" group:"compare"`
}

// Help is shown by bench sources --help.
func (c *benchSourcesCommand) Help() string {
	return "Measures on this machine, with the real CLI and an imitation of the Anthropic API, each source of the former service's latency, before and after. " +
		"Each run is kept in the data folder: bench history. With --url or --against it asks running services instead, one short request at a time; keys are in no argument."
}

// The rounds where nobody says how many.
const (
	sourcesRounds, sourcesQuick = 10, 3
	compareRounds, compareQuick = 20, 5
	mostRounds                  = benchmark.MaxRounds
)

func (c *benchSourcesCommand) rounds(usual, quick int) (int, error) {
	switch {
	case c.Rounds < 0 || c.Rounds > mostRounds:
		return 0, fmt.Errorf("--rounds: must be between 1 and %d, or 0", mostRounds)
	case c.Rounds > 0 && c.Quick:
		return 0, errors.New("--quick: --rounds is set too; which one?")
	case c.Rounds > 0:
		return c.Rounds, nil
	case c.Quick:
		return quick, nil
	}
	return usual, nil
}

// Run measures, prints, and keeps what was measured.
func (c *benchSourcesCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	run := &benchmark.Run{At: time.Now(), Version: app.Version, Commit: app.ReadBuilt().Commit, Machine: benchmark.ThisMachine()}
	var err error
	if c.URL != "" || c.Against != "" {
		err = c.compare(ctx, run)
	} else {
		err = c.sources(ctx, run)
	}
	if err != nil {
		return err
	}
	if err := c.print(run); err != nil {
		return err
	}
	if err := c.draw(run); err != nil {
		return err
	}
	return benchmark.Append(c.DataDir, run)
}

func (c *benchSourcesCommand) sources(ctx context.Context, run *benchmark.Run) (err error) {
	if run.Rounds, err = c.rounds(sourcesRounds, sourcesQuick); err != nil {
		return err
	}
	stand, err := c.stand(ctx)
	if err != nil {
		return err
	}
	if run.CLI, err = benchmark.CLIVersion(ctx, stand.CLI); err != nil {
		return err
	}
	bar := newProgressBar()
	defer bar.clear()
	run.Sources, err = benchmark.RunSources(ctx, benchmark.SourcesOptions{
		StandOptions: stand, Rounds: run.Rounds, Progress: quietly, Round: func(done int) { bar.show(done, run.Rounds, "rounds") },
	})
	return err
}

// stand is what is started to be measured.
func (c *benchSourcesCommand) stand(ctx context.Context) (benchmark.StandOptions, error) {
	cli, err := namedCLI(c.ClaudePath)
	if cli == "" && err == nil {
		if cli = install.Find(); cli == "" {
			cli, err = pinnedCLI(ctx)
		}
	}
	if err != nil {
		return benchmark.StandOptions{}, err
	}
	self, err := os.Executable()
	return benchmark.StandOptions{Self: self, CLI: cli, Workers: 2}, err
}

const againstKeyVariable = "CLAUDE_API_AGAINST_KEY"

func (c *benchSourcesCommand) compare(ctx context.Context, run *benchmark.Run) (err error) {
	if run.Rounds, err = c.rounds(compareRounds, compareQuick); err != nil {
		return err
	}
	if c.SVG != "" {
		return errors.New("--svg: the chart is of the sources of latency, which --url and --against don't measure")
	}
	bar := newProgressBar()
	defer bar.clear()
	o := benchmark.CompareOptions{
		Service: benchmark.Target{URL: c.URL, Shape: c.Shape, Model: c.Model, Backend: c.Backend}, Rounds: run.Rounds, Round: func(done int) { bar.show(done, run.Rounds, "rounds") },
	}
	if c.Against != "" {
		o.Against = &benchmark.Target{URL: c.Against, Shape: c.Shape, Model: c.Model, Backend: c.Backend}
		if c.AgainstModel != "" {
			o.Against.Model = c.AgainstModel
		}
		if o.Against.Key, err = keyFrom(c.AgainstKeyFile, againstKeyVariable, "--against-key-file"); err != nil {
			return err
		}
	}
	if c.URL != "" {
		if o.Service.Key, err = keyFrom(c.KeyFile, keyVariable, "--key-file"); err != nil {
			return err
		}
	} else {
		options, err := c.stand(ctx)
		if err != nil {
			return err
		}
		quietly("starting the service with an imitation of the Anthropic API")
		stand, err := benchmark.NewStand(ctx, options)
		if err != nil {
			return err
		}
		defer stand.Close()
		o.Service.URL, o.Service.Key = stand.Service.URL, stand.Service.Key
	}
	run.Compare, err = benchmark.RunCompare(ctx, o)
	return err
}

// keyFrom reads a key from a file or else a variable.
func keyFrom(file, variable, flag string) (string, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%s: %w", flag, err)
		}
		return strings.TrimSpace(string(text)), nil
	}
	if key := os.Getenv(variable); key != "" {
		return key, nil
	}
	return "", fmt.Errorf("a key is needed: set %s, or name its file with %s", variable, flag)
}

func (c *benchSourcesCommand) draw(run *benchmark.Run) error {
	if c.SVG == "" {
		return nil
	}
	file, err := os.Create(c.SVG)
	if err != nil {
		return fmt.Errorf("--svg: %w", err)
	}
	return errors.Join(run.WriteSVG(file), file.Close())
}

// quietly tells what goes on, to a person who watches.
func quietly(text string) {
	if isTerminal(os.Stderr) {
		progress(text)
	}
}

func (c *benchSourcesCommand) print(run *benchmark.Run) error {
	switch {
	case c.Output == formJSON:
		return printRun(run)
	case c.Output == formCSV && run.Sources != nil:
		return printList(os.Stdout, formCSV, sourceColumns, run.Sources.Sources)
	case c.Output == formCSV:
		sides := []benchmark.Side{run.Compare.Service}
		if run.Compare.Against != nil {
			sides = append(sides, *run.Compare.Against)
		}
		return printList(os.Stdout, formCSV, sideColumns, sides)
	case run.Sources != nil:
		run.Sources.Print(os.Stdout)
	default:
		run.Compare.Print(os.Stdout)
	}
	return nil
}

// printRun prints a run as the history keeps it, indented.
func printRun(run *benchmark.Run) error {
	text, err := run.JSON()
	if err != nil {
		return err
	}
	value := jsontext.Value(text)
	if err := value.Indent(jsontext.WithIndent("  ")); err != nil {
		return err
	}
	printLine(formJSON, value)
	return nil
}

// ms is a number of milliseconds in a cell.
type ms float64

var sourceColumns = []column[benchmark.Source]{
	{name: "source", value: func(s benchmark.Source) any { return s.Name }},
	{name: "published", value: func(s benchmark.Source) any { return s.Former }},
	{name: "before_ms", value: func(s benchmark.Source) any { return ms(s.Before.P50) }},
	{name: "before_p10_ms", value: func(s benchmark.Source) any { return ms(s.Before.P10) }},
	{name: "before_p90_ms", value: func(s benchmark.Source) any { return ms(s.Before.P90) }},
	{name: "before_count", value: func(s benchmark.Source) any { return s.Before.Count }},
	{name: "after_ms", value: func(s benchmark.Source) any { return ms(s.After.P50) }},
	{name: "after_p10_ms", value: func(s benchmark.Source) any { return ms(s.After.P10) }},
	{name: "after_p90_ms", value: func(s benchmark.Source) any { return ms(s.After.P90) }},
	{name: "after_count", value: func(s benchmark.Source) any { return s.After.Count }},
	{name: "saved_ms", value: func(s benchmark.Source) any { return ms(s.Saved()) }},
	{name: "simulated", value: func(s benchmark.Source) any { return s.Simulated }},
	{name: "how", value: func(s benchmark.Source) any { return s.How }},
}

var sideColumns = []column[benchmark.Side]{
	{name: "url", value: func(s benchmark.Side) any { return s.URL }},
	{name: "model", value: func(s benchmark.Side) any { return s.Model }},
	{name: "first_token_p50_ms", value: func(s benchmark.Side) any { return ms(s.First.P50) }},
	{name: "first_token_p95_ms", value: func(s benchmark.Side) any { return ms(s.First.P95) }},
	{name: "total_p50_ms", value: func(s benchmark.Side) any { return ms(s.Total.P50) }},
	{name: "total_p95_ms", value: func(s benchmark.Side) any { return ms(s.Total.P95) }},
	{name: "count", value: func(s benchmark.Side) any { return s.Total.Count }},
	{name: "failed", value: func(s benchmark.Side) any { return s.Failed }},
}

type benchHistoryCommand struct {
	DataDir string `help:"Folder for the service's data, in which the history is kept." default:"${data_dir}" env:"CLAUDE_API_DATA_DIR"`
	listOutput
}

// Run lists the runs that were kept, each compared with the one before it on the same
// machine.
func (c *benchHistoryCommand) Run() error {
	runs, skipped, err := benchmark.History(c.DataDir)
	if err != nil {
		return err
	}
	if skipped > 0 {
		warn("%d lines of %s hold no run that this version reads", skipped, filepath.Base(benchmark.HistoryFile(c.DataDir)))
	}
	former := benchmark.Former(runs)
	list := make([]pastRun, len(runs))
	for i := range runs {
		list[i] = pastRun{&runs[i], former[i]}
	}
	return printList(os.Stdout, c.Output, historyColumns, list)
}

type pastRun struct {
	*benchmark.Run
	former *benchmark.Run
}

// way is a way's median; nil where it wasn't measured.
func (p pastRun) way(name string) any {
	if took := p.Way(name); took > 0 {
		return ms(took)
	}
	return nil
}

// change says how a way's median differs from the run before, in percent.
func (p pastRun) change(name string) any {
	if p.former == nil || p.former.Way(name) == 0 || p.Way(name) == 0 {
		return nil
	}
	return fmt.Sprintf("%+.0f%%", 100*(p.Way(name)/p.former.Way(name)-1))
}

// total is what a compared service took at the median.
func (p pastRun) compared(side func(c *benchmark.Compare) *benchmark.Side) any {
	if p.Compare == nil {
		return nil
	}
	if s := side(p.Compare); s != nil {
		return ms(s.Total.P50)
	}
	return nil
}

var historyColumns = []column[pastRun]{
	{name: "at", title: "when", value: func(p pastRun) any { return p.At }},
	{name: "version", title: "version", value: func(p pastRun) any { return p.Version }},
	{name: "commit", value: func(p pastRun) any { return p.Commit }},
	{title: "commit", value: func(p pastRun) any { return p.Commit[:min(len(p.Commit), 12)] }},
	{name: "machine", title: "machine", value: func(p pastRun) any {
		return fmt.Sprintf("%s %s/%s %d cores", p.Machine.Name, p.Machine.OS, p.Machine.Arch, p.Machine.Cores)
	}},
	{name: "cpu", value: func(p pastRun) any { return p.Machine.CPU }},
	{name: "cli", title: "cli", value: func(p pastRun) any { return p.CLI }},
	{name: "rounds", title: "rounds", value: func(p pastRun) any { return p.Rounds }},
	{name: "cold_ms", title: "cold", value: func(p pastRun) any { return p.way(benchmark.WayCold) }},
	{name: "warm_ms", title: "warm", value: func(p pastRun) any { return p.way(benchmark.WayWarm) }},
	{name: "warm_change", title: "change", value: func(p pastRun) any { return p.change(benchmark.WayWarm) }},
	{name: "direct_ms", title: "direct", value: func(p pastRun) any { return p.way(benchmark.WayDirect) }},
	{name: "direct_change", title: "change", value: func(p pastRun) any { return p.change(benchmark.WayDirect) }},
	{name: "service_ms", title: "service", value: func(p pastRun) any {
		return p.compared(func(c *benchmark.Compare) *benchmark.Side { return &c.Service })
	}},
	{name: "against_ms", title: "against", value: func(p pastRun) any {
		return p.compared(func(c *benchmark.Compare) *benchmark.Side { return c.Against })
	}},
}
