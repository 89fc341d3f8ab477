package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"claude-code-api-service/internal/benchmark"
	"claude-code-api-service/internal/claudecli/install"
)

type benchCommand struct {
	Sources benchSourcesCommand `cmd:"" default:"withargs" help:"What bench alone does: each source of the former service's latency, before and after; or running services: --url, --against."`
	History benchHistoryCommand `cmd:"" help:"List the runs so far, each with the one before it."`
	CLI     benchCLICommand     `cmd:"" name:"cli" help:"The CLI path against a bare warm process and a process per request."`
	Direct  benchDirectCommand  `cmd:"" help:"The direct path against the upstream itself."`
}

type benchCLICommand struct {
	ClaudePath string        `help:"The Claude Code CLI's binary; empty: the pinned version from npm." env:"CLAUDE_API_CLAUDE_PATH"`
	Turns      int           `help:"Warm turns on each side." default:"200"`
	Cold       int           `help:"Requests with a process each." default:"10"`
	Duration   time.Duration `help:"Length of each throughput measurement." default:"10s"`
}

func (c *benchCLICommand) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cli, err := namedCLI(c.ClaudePath)
	if cli == "" && err == nil {
		cli, err = pinnedCLI(ctx)
	}
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	result, err := benchmark.RunCLI(ctx, benchmark.CLIOptions{
		StandOptions: benchmark.StandOptions{Self: self, CLI: cli},
		Turns:        c.Turns, Cold: c.Cold, Duration: c.Duration, Progress: quietly,
	})
	if err != nil {
		return err
	}
	result.Print(os.Stdout)
	return nil
}

type benchDirectCommand struct {
	Requests int `help:"Requests on each side." default:"2000"`
}

func (c *benchDirectCommand) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	result, err := benchmark.RunDirect(ctx, benchmark.DirectOptions{
		StandOptions: benchmark.StandOptions{Self: self}, Requests: c.Requests, Progress: quietly,
	})
	if err != nil {
		return err
	}
	result.Print(os.Stdout)
	return nil
}

// namedCLI finds the binary that somebody named, as seen from the working folder;
// "" stays.
func namedCLI(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("--claude-path: %w", err)
	}
	return filepath.Abs(path)
}

// pinnedCLI gives the CLI version that the service is tested with, from the
// cache folder or npm.
func pinnedCLI(ctx context.Context) (string, error) {
	folder, err := install.CacheFolder()
	if err != nil {
		return "", err
	}
	path, err := install.Ensure(ctx, folder, install.Version, progress)
	if errors.Is(err, install.ErrNoNPM) {
		return "", fmt.Errorf("the Claude Code CLI %s isn't there and can't be fetched: %w", install.Version, err)
	}
	return path, err
}

// progress tells on standard error what goes on.
func progress(text string) { fmt.Fprintln(os.Stderr, "·", text) }
