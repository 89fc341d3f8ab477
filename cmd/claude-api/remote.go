package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"claude-code-api-service/client"
)

// The variables that hold keys, which are in no argument: those can be seen by others.
const (
	keyVariable      = "CLAUDE_API_KEY"
	adminKeyVariable = "CLAUDE_API_ADMIN_KEY"
)

// address says where a running service is.
type address struct {
	URL string `name:"url" help:"The service's address." default:"http://127.0.0.1:8006" env:"CLAUDE_API_URL"`
}

// remote is a running service, and the key of who calls it.
type remote struct {
	address `embed:""`
	KeyFile string `help:"File with the key, as keys provision writes it; without it, the variable CLAUDE_API_KEY holds the key."`
	Retries int    `help:"How often a call is repeated that the service refuses for now, each time after as long as it says." default:"3"`
}

// adminRemote is a running service, and a key that administers it.
type adminRemote struct {
	address `embed:""`
	KeyFile string `help:"File with a key that administers the service; without it, the variable CLAUDE_API_ADMIN_KEY, else CLAUDE_API_KEY, holds the key."`
}

func readKey(file string, variables ...string) (string, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", &exitError{exitRefused, fmt.Errorf("--key-file: %w", err)}
		}
		return strings.TrimSpace(string(text)), nil
	}
	for _, name := range variables {
		if key := os.Getenv(name); key != "" {
			return key, nil
		}
	}
	return "", &exitError{exitRefused, fmt.Errorf("a key is needed: set %s, or name its file with --key-file", variables[0])}
}

// call gives f the service, which is asked again so often where it refuses for now, and a context that ends when the program is interrupted.
func (a *address) call(key string, retries int, f func(ctx context.Context, c *client.Client) error) error {
	if retries <= 0 {
		retries = -1
	}
	c, err := client.New(client.Options{URL: a.URL, Key: key, Retries: retries})
	if err != nil {
		return misused("--url: %w", err)
	}
	defer c.Close()
	ctx, stop := untilInterrupted()
	defer stop()
	return f(ctx, c)
}

func (r *remote) call(f func(ctx context.Context, c *client.Client) error) error {
	key, err := readKey(r.KeyFile, keyVariable)
	if err != nil {
		return err
	}
	return r.address.call(key, r.Retries, f)
}

func (r *adminRemote) call(f func(ctx context.Context, a *client.Admin) error) error {
	key, err := readKey(r.KeyFile, adminKeyVariable, keyVariable)
	if err != nil {
		return err
	}
	return r.address.call(key, 0, func(ctx context.Context, c *client.Client) error { return f(ctx, c.Admin()) })
}

func untilInterrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}
