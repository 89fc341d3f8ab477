package main

import (
	"context"
	"os"
	"time"

	"claude-code-api-service/client"
	"claude-code-api-service/internal/top"
)

type topCommand struct {
	adminRemote `embed:""`
	Every       time.Duration `help:"How often the service is asked." default:"1s"`
	Count       int           `short:"n" help:"Without a terminal: how many lines are printed, one each time." default:"1"`
}

// Help is shown by top --help.
func (*topCommand) Help() string {
	return "Without a terminal, as in a pipe, it prints what the service does in one line. The key ? shows what the other keys do."
}

// shortestEvery keeps the view from being a load of its own.
const shortestEvery = 100 * time.Millisecond

// Run shows the service.
func (c *topCommand) Run() error {
	switch {
	case c.Every < shortestEvery:
		return misused("--every: must be at least %s", shortestEvery)
	case c.Count < 1:
		return misused("--count: must be at least 1")
	}
	return c.call(func(ctx context.Context, admin *client.Admin) error {
		options := top.Options{Service: admin, Address: c.URL, Every: c.Every, In: os.Stdin, Out: os.Stdout, Plain: !colors(os.Stdout)}
		if !isTerminal(os.Stdin) || !isTerminal(os.Stdout) || os.Getenv("TERM") == "dumb" {
			return top.Line(ctx, options, c.Count)
		}
		// What is wrong with the key or the address is said on the plain screen.
		if _, err := admin.Overview(ctx); err != nil {
			return err
		}
		return top.Run(ctx, options)
	})
}
